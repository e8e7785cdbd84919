"""A stage for the display: marked frames and masks that say which frame they belong to.

It speaks the display's side of the API with a scripted state, and sends masks late, or not at all,
on demand. Frame number n is in the picture as a block code and in its mask as sixteen columns, so
that a test can read both from what is on the screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from benchmarks.live.viewer import ViewerConfig, lose_sent
from models.types import UInt8Array
from streaming.mark import draw_mark

STATIC = Path(__file__).parents[2] / "service" / "static"
WIDTH, HEIGHT, GRID_WIDTH, GRID_HEIGHT = 640, 480, 320, 240
BITS, BAR = 16, 16  # of the number in the mask, from the left, most significant first
TOP, BOTTOM = 40, 140  # rows of the grid that the bars cover
CLOCK = 90_000
ORIGIN = (1 << 32) - 2 * CLOCK  # RTP time wraps two seconds after the start
CLASSES = [
    {"id": 1, "name": "grasper", "color": "#00ff00", "present": True, "confidence": 0.91},
    {"id": 2, "name": "needle_driver", "color": "#ff00ff", "present": False, "confidence": 0.1},
]
UNNAMED = {"id": 255, "name": "kind unknown", "color": "#d0d7de", "area": 0.0}


@dataclass
class Stage:
    """What the stage plays. mask_delay_s: from a frame's sending to its mask's; None sends none."""

    fps: int = 25
    mask_delay_s: float | None = 0.02
    every: int = 1  # a mask for each n-th frame only
    loss: float = 0.0  # share of packets that get lost, those of masks among them
    frames_flow: bool = True
    status: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[], Response] | None = None  # what comes in the place of the status
    offers: list[str] = field(default_factory=list)  # the views that were asked for
    refuse: str = ""  # the sentence with which offers are refused
    masks_sent: int = 0
    peers: list[RTCPeerConnection] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A session that is well."""
        numbers = {"p50": 31.0, "p95": 44.0}
        self.status = {
            "id": "main", "name": "main", "badge": "LIVE", "source": "laparoscope",
            "source_state": "running", "profile": "instrument", "demo": False,
            "source_fps": self.fps, "fps_in": self.fps, "fps_out": self.fps, "step_ms": numbers,
            "capture_to_send_ms": numbers, "plain_capture_to_send_ms": numbers,
            "deadline_ms": 80.0, "updates": {}, "learner_frozen": False,
            "viewers": 1, "classes": CLASSES, "unnamed": UNNAMED, "learner_history": [],
        } | self.status  # fmt: skip

    def app(self) -> FastAPI:
        """The application to be served."""
        app = FastAPI(lifespan=self._lifespan)
        app.mount("/static", StaticFiles(directory=STATIC), name="static")
        app.get("/display/{name}")(self._page)
        app.get("/api/ice")(lambda: {"iceServers": []})
        app.get("/api/sessions/{name}")(self._status)
        app.post("/api/sessions/{name}/offer")(self._offer)
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        yield
        await self.hang_up()

    def playing(self) -> list[bool]:
        """Of each connection so far, whether it is one now."""
        return [peer.connectionState == "connected" for peer in self.peers]

    async def hang_up(self) -> None:
        """Close every connection, as a server does that goes away."""
        await asyncio.gather(*(peer.close() for peer in self.peers))
        self.peers.clear()

    async def _page(self, name: str) -> FileResponse:
        return FileResponse(STATIC / "display.html")

    async def _status(self, name: str) -> Response:
        if name != "main":
            return JSONResponse({"detail": f"no session is called {name}"}, 404)
        return self.answer() if self.answer else JSONResponse(self.status)

    async def _offer(self, name: str, request: Request) -> Response:
        body = await request.json()
        self.offers.append(body["view"])
        if self.refuse:
            return JSONResponse({"detail": self.refuse}, 503)
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.peers.append(peer)
        track = MarkedTrack(self)

        @peer.on("datachannel")
        def opened(channel: RTCDataChannel) -> None:
            assert channel.label == "masks"
            if body["view"] == "plain":
                track.channel = channel

        lines = body["sdp"].splitlines(keepends=True)
        offer = "".join(line for line in lines if ".local " not in line)  # names nobody resolves
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        peer.addTrack(track)
        track.known_origin.start()
        await peer.setLocalDescription(await peer.createAnswer())
        if self.loss:
            lose_sent(peer, ViewerConfig(loss=self.loss, seed=7))
        return JSONResponse({"sdp": peer.localDescription.sdp, "type": "answer"})


class MarkedTrack(MediaStreamTrack):
    """Frames at the stage's rate, each followed by its mask."""

    kind = "video"

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage, self._number, self._began = stage, 0, time.monotonic()
        self.channel: RTCDataChannel | None = None
        # aiortc's sender draws the origin of its RTP time right before it asks for the first frame.
        self.known_origin = patch("aiortc.rtcrtpsender.random32", lambda: ORIGIN)

    async def recv(self) -> av.VideoFrame:
        """The next frame when its time has come."""
        if self._number == 0:
            self.known_origin.stop()
        while True:
            self._number += 1
            due = self._began + self._number / self._stage.fps
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.readyState != "live":
                raise MediaStreamError
            if self._stage.frames_flow:
                break
        frame = av.VideoFrame.from_ndarray(picture(self._number), format="rgb24")
        frame.pts = self._number * CLOCK // self._stage.fps
        frame.time_base = Fraction(1, CLOCK)
        stage, number, stamp = self._stage, self._number, (ORIGIN + frame.pts) % (1 << 32)
        if stage.mask_delay_s is not None and number % stage.every == 0:
            send = asyncio.get_running_loop().call_later
            send(stage.mask_delay_s, self._send, mask_message(stamp, number))
        return frame

    def _send(self, message: bytes) -> None:
        if self.channel is not None and self.channel.readyState == "open":
            self.channel.send(message)
            self._stage.masks_sent += 1


def picture(number: int) -> UInt8Array:
    """Grey that moves, with the number's block code. (H, W, 3)"""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    left = number * 4 % WIDTH
    image[300:380, left : left + 60] = 200
    draw_mark(image, number)
    return image


def mask_of(number: int) -> UInt8Array:
    """The number as columns of class 1. (GRID_HEIGHT, GRID_WIDTH)"""
    mask = np.zeros((GRID_HEIGHT, GRID_WIDTH), np.uint8)
    for bit in range(BITS):
        if number >> (BITS - 1 - bit) & 1:
            left = bit * (GRID_WIDTH // BITS) + 2
            mask[TOP:BOTTOM, left : left + BAR] = 1
    return mask


def read_bars(shown_rgb: UInt8Array) -> int | None:
    """The number that the drawn mask says; None where no mask is drawn. (H, W, 3) of the picture"""
    height, width = shown_rgb.shape[:2]
    rows = slice(height * (TOP + 20) // GRID_HEIGHT, height * (BOTTOM - 20) // GRID_HEIGHT)
    step = width / BITS
    number = 0
    for bit in range(BITS):
        middle = int((bit + 0.5) * step)
        cell = shown_rgb[rows, middle - 3 : middle + 3].astype(int)
        green = (cell[..., 1] - cell[..., 0]).mean() > 25
        number = number << 1 | green
    return number or None


def mask_message(rtp_timestamp: int, number: int) -> bytes:
    """As the service writes it, version 1."""
    mask = mask_of(number)
    head = struct.pack("<2sBBIIHHB", b"TM", 1, 0, rtp_timestamp, number, *mask.shape[::-1], 1)
    return head + bytes([1]) + _runs(mask.ravel())


def _runs(values: UInt8Array) -> bytes:
    edges = np.flatnonzero(np.diff(values)) + 1
    starts = np.concatenate(([0], edges))
    lengths = np.diff(np.concatenate((starts, [values.size])))
    out = bytearray()
    for value, length in zip(values[starts].tolist(), lengths.tolist(), strict=True):
        out.append(value)
        while length > 127:
            out.append(length & 127 | 128)
            length >>= 7
        out.append(length)
    return bytes(out)

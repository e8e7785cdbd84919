"""A real server on a real socket, and a real WebRTC viewer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from fastapi import FastAPI

from models.types import UInt8Array
from service.live.session import Session
from service.live.sessions import Sessions


@dataclass
class Viewer:
    """Frames as they were decoded, (RTP timestamp, picture), and masks as they came.

    id: of the connection, as the service names it
    """

    id: str = ""
    frames: list[tuple[int, UInt8Array]] = field(default_factory=list)
    masks: list[bytes] = field(default_factory=list)


class WireTime:
    """In place of aiortc's mapper, which lets every stream begin at zero: what was on the wire."""

    def map(self, timestamp: int) -> int:
        """The timestamp itself."""
        return timestamp


@dataclass
class Server:
    """An application being served."""

    app: FastAPI
    url: str

    @property
    def session(self) -> Session:
        """The session that it opened at its start."""
        sessions: Sessions = self.app.state.sessions
        return sessions["main"].session

    @property
    def main(self) -> str:
        """Where that session is found over HTTP."""
        return f"{self.url}/api/sessions/main"

    async def status(self) -> dict[str, Any]:
        """GET /api/sessions/main over the socket."""
        return await asyncio.to_thread(get_json, self.main)

    async def until(self, condition: str, seconds: float = 15) -> dict[str, Any]:
        """Wait until the badge says so."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            status = await self.status()
            if status["badge"] == condition:
                return status
            assert asyncio.get_running_loop().time() < end, f"{status['badge']}, not {condition}"
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def viewer(
        self, view: str = "overlay", *, session: str = "main"
    ) -> AsyncIterator[Viewer]:
        """A WebRTC viewer that decodes everything it gets."""
        peer, viewer, tasks = RTCPeerConnection(RTCConfiguration(iceServers=[])), Viewer(), []
        receiver = peer.addTransceiver("video", direction="recvonly").receiver
        receiver._RTCRtpReceiver__timestamp_mapper = WireTime()
        masks = peer.createDataChannel("masks", ordered=False, maxRetransmits=0)
        masks.on("message", viewer.masks.append)

        @peer.on("track")
        def on_track(track: Any) -> None:
            async def pull() -> None:
                with contextlib.suppress(Exception):  # the track ends with the connection
                    while True:
                        frame = await track.recv()
                        picture = frame.to_ndarray(format="rgb24")
                        viewer.frames.append((frame.pts, np.asarray(picture, np.uint8)))

            tasks.append(asyncio.create_task(pull()))

        await peer.setLocalDescription(await peer.createOffer())
        offer = {"sdp": peer.localDescription.sdp, "type": "offer"}
        offer["view"] = view
        url = f"{self.url}/api/sessions/{session}/offer"
        answer, location = await asyncio.to_thread(post_for, url, offer)
        viewer.id = location.split("/")[-1]
        await peer.setRemoteDescription(RTCSessionDescription(**answer))
        try:
            yield viewer
        finally:
            await peer.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Server]:
    """Serve on a free port of the loopback."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("server did not start")
        await asyncio.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(app, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 15)


def get_json(url: str) -> Any:
    """GET and parse."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


def post_json(url: str, body: Any) -> Any:
    """POST JSON and parse the answer."""
    return post_for(url, body)[0]


def post_for(url: str, body: Any) -> tuple[Any, str]:
    """POST JSON; the answer, parsed, and its Location."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response), response.headers.get("Location", "")

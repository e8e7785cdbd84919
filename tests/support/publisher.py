"""A WebRTC publisher whose every frame the test decides on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from streaming.mark import draw_mark
from streaming.negotiation import SdpAnswer

SIZE = (120, 256)


class NumberedTrack(MediaStreamTrack):
    """Pictures that carry their number, one for each call of `show`."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._pictures: asyncio.Queue[av.VideoFrame] = asyncio.Queue()
        self._numbers = itertools.count()

    def show(self, size: tuple[int, int] = SIZE) -> int:
        """Send the next picture; returns its number."""
        number = next(self._numbers)
        image = np.full((*size, 3), 120, np.uint8)
        draw_mark(image, number)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number * 3600, Fraction(1, 90_000)
        self._pictures.put_nowait(frame)
        return number

    async def recv(self) -> av.VideoFrame:
        """The next picture that the test has shown."""
        return await self._pictures.get()


@contextlib.asynccontextmanager
async def publishing(answer: Callable[[str], Awaitable[SdpAnswer]]) -> AsyncIterator[NumberedTrack]:
    """A publisher, connected, whose offer `answer` has answered."""
    peer, track = RTCPeerConnection(RTCConfiguration(iceServers=[])), NumberedTrack()
    connected = asyncio.Event()

    @peer.on("connectionstatechange")
    def changed() -> None:
        if peer.connectionState == "connected":
            connected.set()

    try:
        peer.addTrack(track)
        await peer.setLocalDescription(await peer.createOffer())
        answered = await answer(peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answered.sdp, "answer"))
        await asyncio.wait_for(connected.wait(), 20)
        yield track
    finally:
        await peer.close()

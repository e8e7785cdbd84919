"""The plainest live stream that aiortc can give: frames in, its own encoder, no model."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError

from streaming.encoding import CLOCK, prefer_vp8, rtp_stamp
from streaming.frame import Frame
from streaming.mark import draw_mark
from streaming.negotiation import new_connection, read_offer
from streaming.pump import Pump
from streaming.slot import LatestSlot, SlotClosedError
from streaming.sources import Source


class RelayTrack(MediaStreamTrack):
    """The newest frame, with its number in its corner."""

    kind = "video"

    def __init__(self, slot: LatestSlot[Frame]) -> None:
        super().__init__()
        self._slot = slot

    async def recv(self) -> av.VideoFrame:
        """The next frame as it came, and the capture's time stamp."""
        try:
            frame = await self._slot.get()
        except SlotClosedError:
            raise MediaStreamError from None
        image = frame.image_rgb.copy()
        draw_mark(image, frame.index)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture.pts, picture.time_base = rtp_stamp(frame.captured_ns), Fraction(1, CLOCK)
        return picture


class Relay:
    """One viewer at a time; everything is aiortc's own, as it comes."""

    def __init__(self, source: Source) -> None:
        self._slot: LatestSlot[Frame] = LatestSlot()
        self._pump = Pump(lambda: source, self._slot)
        self._pump.start(source)
        self._connection: RTCPeerConnection | None = None

    async def answer(self, sdp: str) -> str:
        """Answer a viewer's offer; the one before him is hung up on."""
        await self._hang_up()
        connection = self._connection = new_connection()
        await connection.setRemoteDescription(read_offer(sdp))
        connection.addTrack(RelayTrack(self._slot))
        prefer_vp8(connection.getTransceivers()[0])
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    async def close(self) -> None:
        """Stop the source and hang up."""
        self._slot.close()
        await asyncio.to_thread(self._pump.close)
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._connection is not None:
            await self._connection.close()

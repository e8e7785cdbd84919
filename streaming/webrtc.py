"""The video track a viewer pulls from: the newest composed picture, stamped with its capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streaming.frame import UInt8Array
from streaming.slot import LatestSlot, SlotClosedError

CLOCK = 90_000


@dataclass(frozen=True)
class Picture:
    """What viewers get.

    planes_yuv: (H * 3 / 2, W) uint8, I420, H and W even
    captured_ns: monotonic time at which its frame was captured
    """

    planes_yuv: UInt8Array = field(repr=False)
    captured_ns: int


class PictureTrack(MediaStreamTrack):
    """Pulled by aiortc's sender when it is ready; never queues, never repeats a picture."""

    kind = "video"

    def __init__(self, slot: LatestSlot[Picture]) -> None:
        super().__init__()
        self._slot = slot
        self._start_ns: int | None = None
        self._last = -1

    async def recv(self) -> av.VideoFrame:
        """The next picture as a frame of its own (the encoder writes into it)."""
        try:
            picture = await self._slot.get()
        except SlotClosedError:
            self.stop()
            raise MediaStreamError from None
        if self._start_ns is None:
            self._start_ns = picture.captured_ns
        frame = av.VideoFrame.from_ndarray(picture.planes_yuv, format="yuv420p")
        stamp = (picture.captured_ns - self._start_ns) * CLOCK // 1_000_000_000
        self._last = max(self._last + 1, stamp)
        frame.pts, frame.time_base = self._last, Fraction(1, CLOCK)
        return frame

"""Is a mask ever seen on another frame than its own? Read from the pixels that a viewer decodes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from av import VideoFrame

from benchmarks.signed import SigningModel, mask_in_picture, number_of_mask, numbered_picture
from benchmarks.viewer import ViewerConfig, watching
from models.types import UInt8Array
from service.model_process import ModelProcess, ModelTimes
from service.session import Badge, Session, SessionPlan
from service.settings import Settings
from streaming.mark import read_mark
from streaming.mask_wire import read_mask
from streaming.sources import RenderedSource

FPS = 40
LOSS = 0.02


@dataclass
class Looking:
    """What one viewer saw: the number in a frame's mark, and in the mask on that frame."""

    view: str
    pairs: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    bare: int = 0  # frames, or messages, that could not be read or had no other half
    _width: int = 0
    _shown: dict[int, int | None] = field(default_factory=dict)
    _messages: list[bytes] = field(default_factory=list)

    def frame(self, frame: VideoFrame) -> None:
        """A picture was decoded."""
        image: UInt8Array = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        mark = read_mark(image)
        self.frames, self._width = self.frames + 1, image.shape[1]
        if self.view == "plain":
            assert frame.pts is not None
            self._shown[frame.pts] = mark
        else:
            self._pair(mark, number_of_mask(mask_in_picture(image)))

    def message(self, message: bytes) -> None:
        """A mask came; it is matched at the end, when every frame is there."""
        self._messages.append(message)

    def match(self) -> None:
        """Put masks to frames, by the timestamp alone."""
        for message in map(read_mask, self._messages):
            scale = self._width // message.grid.shape[1]
            grid = message.grid.repeat(scale, axis=0).repeat(scale, axis=1)
            self._pair(self._shown.get(message.rtp_timestamp), number_of_mask(grid))

    def _pair(self, mark: int | None, mask: int | None) -> None:
        if mark is None or mask is None:
            self.bare += 1
        else:
            self.pairs.append((mark, mask))


async def measure_exactness(frames: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Both ways to show masks, with and without loss."""
    async with signing_session(size) as session:
        return [
            await _one(session, view, loss, frames)
            for view in ("overlay", "plain")
            for loss in (0.0, LOSS)
        ]


@contextlib.asynccontextmanager
async def signing_session(size: tuple[int, int]) -> AsyncIterator[Session]:
    """A session whose pictures are numbered and whose masks spell the number they saw."""
    render = functools.partial(numbered_picture, size=size)
    plan = SessionPlan(
        lambda: RenderedSource(render, size, Fraction(FPS)), "numbers", "none", Badge.DEMO, False
    )
    session = Session(plan, ModelProcess(SigningModel, ModelTimes(start_s=60)), Settings())
    await session.start()
    try:
        yield session
    finally:
        await session.close()


async def look(session: Session, view: str, loss: float, frames: int, limit_s: float) -> Looking:
    """Watch so many frames. Raises TimeoutError."""
    looking, enough = Looking(view), asyncio.Event()

    def on_frame(frame: VideoFrame) -> None:
        looking.frame(frame)
        if looking.frames >= frames:
            enough.set()

    async def ask(sdp: str) -> str:
        return (await session.peers.answer(sdp, view)).sdp

    async with watching(ask, on_frame, looking.message, ViewerConfig(loss=loss)):
        await asyncio.wait_for(enough.wait(), limit_s)
    looking.match()
    return looking


async def _one(session: Session, view: str, loss: float, frames: int) -> dict[str, Any]:
    looking = await look(session, view, loss, frames, limit_s=60 + frames / FPS * 10)
    return {
        "view": view,
        "packets_lost": loss,
        "frames_decoded": looking.frames,
        "frames_with_their_own_mask": sum(mark == mask for mark, mask in looking.pairs),
        "frames_with_another_ones_mask": sum(mark != mask for mark, mask in looking.pairs),
        "without_a_readable_mark_or_mask": looking.bare,
    }

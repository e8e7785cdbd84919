"""Is a mask ever seen on another frame than its own? Read from the pixels that a viewer decodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av import VideoFrame

from benchmarks.live.composed import look_in_browser
from benchmarks.live.display_page import found
from benchmarks.live.viewer import ViewerConfig, watching
from benchmarks.quality.signed import (
    SigningModel,
    mask_in_picture,
    number_of_mask,
    numbered_phantoms,
)
from benchmarks.result_file import result, write_result
from models.types import UInt8Array
from service.errors import ServiceError
from service.live.badge import Badge
from service.live.session import Session
from service.live.session_config import SessionConfig
from service.model.process import ModelProcess, ModelTimes
from service.settings import Settings
from streaming.mark import read_mark
from streaming.mask_wire import read_mask
from streaming.sources import RenderedSource

FPS, BROWSER_FPS = 40, 25
LOSS = 0.02


@dataclass(frozen=True)
class ExactnessConfig:
    """frames: to be shown with masks, in each mode; size: (H, W); chromium: a program"""

    frames: int = 1000
    size: tuple[int, int] = (480, 640)
    chromium: str = "chromium"
    note: str = ""


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


def run_exactness(config: ExactnessConfig, out: Path) -> int:
    """Measure, print, write the JSON. Returns 1 where a mask was seen on another frame."""
    try:
        content = asyncio.run(measure_exactness(config))
    except TimeoutError as error:
        raise ServiceError(f"expected {config.frames} frames with masks, too few came") from error
    print(exactness_table(content))
    write_result(content, out)
    return 0 if content["all_exact"] else 1


def exactness_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'':<52}{'lost':>6}{'frames':>8}{'own mask':>10}{'another':>9}"]
    for mode in content["modes"]:
        kinds = ("shown_with_a_mask", "with_their_own_mask", "with_another_ones_mask")
        shown, own, other = (mode[f"frames_{kind}"] for kind in kinds)
        lost = f"{mode['packets_lost']:.0%}"
        lines.append(f"{mode['mode']:<52}{lost:>6}{shown:>8}{own:>10}{other:>9}")
    verdict = "every mask" if content["all_exact"] else "NOT every mask"
    return "\n".join([*lines, f"{verdict} is on its own frame"])


async def measure_exactness(config: ExactnessConfig) -> dict[str, Any]:
    """Both ways to show masks, each with and without loss. Raises UsageError: no Chromium."""
    found(config.chromium)
    modes = []
    for loss in (0.0, LOSS):
        async with signing_session(config.size) as session:
            modes.append(await _burnt_in(session, loss, config.frames))
        async with signing_session(config.size, BROWSER_FPS) as session:
            modes.append(await _composed(session, loss, config))
    wrong = [mode["frames_with_another_ones_mask"] for mode in modes]
    return result(
        "exactness",
        asdict(config),
        config.note,
        what="numbers of frame and mask, read from the pixels that are shown together",
        all_exact=not any(wrong),
        modes=modes,
    )


@contextlib.asynccontextmanager
async def signing_session(size: tuple[int, int], fps: int = FPS) -> AsyncIterator[Session]:
    """A session whose pictures are numbered and whose masks spell the number they saw."""
    render = await asyncio.to_thread(numbered_phantoms, size)
    plan = SessionConfig(
        lambda: RenderedSource(render, size, Fraction(fps)), "numbers", "none", Badge.DEMO, False
    )
    session = Session(plan, ModelProcess(SigningModel, ModelTimes(start_s=60)), Settings())
    await session.start()
    try:
        yield session
    finally:
        await session.close()


async def segment(session: Session, view: str, loss: float, frames: int, limit_s: float) -> Looking:
    """Watch so many frames; burnt-in ones count with a mask only. Raises TimeoutError."""
    looking, enough = Looking(view), asyncio.Event()

    def on_frame(frame: VideoFrame) -> None:
        looking.frame(frame)
        if looking.frames - looking.bare >= frames:
            enough.set()

    async def ask(sdp: str) -> str:
        return (await session.peers.answer(sdp, view)).sdp

    async with watching(ask, on_frame, looking.message, ViewerConfig(loss=loss)):
        await asyncio.wait_for(enough.wait(), limit_s)
    looking.match()
    return looking


async def _burnt_in(session: Session, loss: float, frames: int) -> dict[str, Any]:
    looking = await segment(session, "overlay", loss, frames, limit_s=60 + frames / FPS * 10)
    return {
        "mode": "burnt in, decoded by aiortc",
        "packets_lost": loss,
        "frames_shown_with_a_mask": len(looking.pairs),
        "frames_with_their_own_mask": sum(mark == mask for mark, mask in looking.pairs),
        "frames_with_another_ones_mask": sum(mark != mask for mark, mask in looking.pairs),
        "without_a_readable_mark_or_mask": looking.bare,
    }


async def _composed(session: Session, loss: float, config: ExactnessConfig) -> dict[str, Any]:
    limit_s = 60 + config.frames / BROWSER_FPS * 10
    shown = await look_in_browser(session, loss, config.frames, limit_s, config.chromium)
    exact = {frame for frame, mask, told in shown.states if frame == mask and str(frame) == told}
    others = {
        frame
        for frame, mask, told in shown.states
        if None not in (frame, mask) and (frame != mask or str(frame) != told)
    }
    return {
        "mode": f"composed by the display page in Chromium {shown.chromium}",
        "packets_lost": loss,
        "frames_shown_with_a_mask": shown.masked_frames,
        "frames_with_their_own_mask": len(exact),
        "frames_with_another_ones_mask": len(others),
        "without_a_readable_mark_or_mask": sum(None in state[:2] for state in shown.states),
        "states_without_a_mask": shown.plain,
    }

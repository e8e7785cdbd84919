"""What runs in the model's process, and what crosses the pipe between it and the service.

Frames and masks cross through shared memory, see process.py.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import LessonError, ModelError
from models.types import (
    IGNORE_ID,
    ClassSpec,
    Click,
    Segmentation,
    UInt8Array,
    Update,
)
from service.model.shared_frames import FrameReader

log = logging.getLogger(__name__)

SAVE_EVERY_S = 2.0  # between copies of the learner, for the process after this one


class LiveSegmenter(Protocol):
    """What the live path needs of a tracker."""

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """Classes in the order of a segmentation's results."""

    def segment(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment the next frame."""

    def update(self) -> tuple[Update, ...]:
        """Learn from that frame; what became of it, per class."""

    def segment_clicks(
        self, image_rgb: UInt8Array, clicks: Sequence[Click]
    ) -> npt.NDArray[np.bool_]:
        """The instrument that somebody points at, (H, W). Raises ModelError."""

    def teach(self, image_rgb: UInt8Array, class_map: UInt8Array) -> None:
        """Learn what a person says of a frame. Raises LessonError."""

    def take_back(self) -> bool:
        """Undo the last lesson; False: there is none."""

    def freeze(self, frozen: bool = True) -> None:
        """Stop learning, or go on."""

    def rollback(self) -> None:
        """Go back to an earlier state of the learner."""

    def reset(self) -> None:
        """Forget the stream."""

    def save(self) -> Any:
        """What was learnt; picklable."""

    def load(self, state: Any) -> None:
        """Go on with what was learnt before."""


OpenSegmenter = Callable[[], LiveSegmenter]


@dataclass(frozen=True)
class Step:
    """Command: segment the frame in shared memory. shape: (H, W, 3)"""

    memory: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Call:
    """Command: a method; its result is the answer."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Lesson:
    """Command: what is clicked on in the frame in shared memory is of this class.

    shape: (H, W, 3); class_id: 0 says that no instrument is there
    """

    memory: str
    shape: tuple[int, int, int]
    clicks: tuple[Click, ...]
    class_id: int


@dataclass(frozen=True)
class Taught:
    """A lesson was taken. area: share of the picture that it speaks of; saved: as in Learnt"""

    area: float
    saved: Any


@dataclass(frozen=True)
class Refused:
    """A lesson that cannot be given; the sentence says why, in our own words."""

    sentence: str


@dataclass(frozen=True)
class Raised:
    """Opening, a step or a call raised; only the kind crosses, a message might quote data."""

    kind: str


@dataclass(frozen=True)
class Learnt:
    """What the learner made of the last frame, or the kind of error it raised.

    saved: all that it has learnt, now and then
    """

    updates: tuple[Update, ...] = ()
    failure: str | None = None
    saved: Any = None


def kind_of(error: BaseException) -> str:
    """What may be said of an error: its message might quote a file or an address."""
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}, {reason}" if reason else type(error).__name__


def run_model(pipe: Connection, open_segmenter: OpenSegmenter) -> None:
    """The model process: open, then answer commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        segmenter = open_segmenter()
    except ModelError as error:
        pipe.send(error)
        return
    except Exception as error:
        log.exception("model does not open")
        pipe.send(Raised(kind_of(error)))
        return
    pipe.send(segmenter.classes)
    learning, frames = _Learning(segmenter), FrameReader()
    raising = False
    while True:
        try:
            command = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if isinstance(command, Call):
                pipe.send(getattr(segmenter, command.name)(*command.arguments))
                continue
            image, class_map = frames.read(command.memory, command.shape)
            if isinstance(command, Lesson):
                pipe.send(_teach(segmenter, image, command))
                continue
            result = segmenter.segment(image)
            class_map[:] = result.class_map
            pipe.send(result.results)
        except Exception as error:  # anything a model may raise must reach the supervisor
            if not raising:  # said once, not per frame
                log.exception("model step failed")
            raising = True
            pipe.send(Raised(type(error).__name__))
            continue
        raising = False
        pipe.send(learning.update())


class _Learning:
    """The learner's turn, and every few seconds a copy of what it has learnt."""

    def __init__(self, segmenter: LiveSegmenter) -> None:
        self._segmenter = segmenter
        self._saved_at, self._news = 0.0, False
        self._failing = False

    def update(self) -> Learnt:
        """Learn from the last frame."""
        try:
            updates = self._segmenter.update()
            lesson = Learnt(updates, saved=self._copy(updates))
        except Exception as error:  # the masks are out; a learner that fails must not stop them
            if not self._failing:  # said once, not per frame
                log.exception("learner failed")
            lesson = Learnt(failure=type(error).__name__)
        self._failing = lesson.failure is not None
        return lesson

    def _copy(self, updates: tuple[Update, ...]) -> Any:
        self._news = self._news or Update.ACCEPTED in updates
        if not self._news or time.monotonic() - self._saved_at < SAVE_EVERY_S:
            return None
        self._saved_at, self._news = time.monotonic(), False
        return self._segmenter.save()


def _teach(segmenter: LiveSegmenter, image_rgb: UInt8Array, lesson: Lesson) -> Taught | Refused:
    """What is clicked on is of the class; of the rest of the picture nothing is said."""
    try:
        mask = segmenter.segment_clicks(image_rgb, lesson.clicks)
        if not mask.any():
            raise LessonError("expected a press on an instrument, found none there")
        class_map = np.where(mask, lesson.class_id, IGNORE_ID).astype(np.uint8)
        segmenter.teach(image_rgb, class_map)
    except ModelError as error:
        return Refused(str(error))
    return Taught(float(mask.mean()), segmenter.save())

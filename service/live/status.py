"""What a session tells of itself. HTTP writes these as JSON, field by field, as they stand here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np

from models.types import ClassResult, ClassSpec, Segmentation, Update
from service.appearance import UNNAMED
from service.live.badge import Badge
from streaming.pictures import TakenAs
from streaming.rendition import RenditionStatus


@dataclass(frozen=True)
class Quantiles:
    """Milliseconds over the last 250 samples; zero before the first."""

    p50: float = 0.0
    p95: float = 0.0

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Quantiles:
        """Median and 95th percentile."""
        if not samples_ms:
            return cls()
        p50, p95 = np.percentile(samples_ms, [50, 95])
        return cls(round(float(p50), 1), round(float(p95), 1))


@dataclass(frozen=True)
class FramesDropped:
    """Frames that were not shown, by the cause."""

    lost_on_the_way: int
    newer_frame_came: int
    model_late: int
    encoder_behind: int
    could_not_be_shown: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


@dataclass(frozen=True)
class RecordingStatus:
    """Whether a session is recorded, and may be; frames are those written so far.

    state: off, recording, closed, or failed (the disk is full, say)
    """

    allowed: bool
    state: Literal["off", "recording", "closed", "failed"] = "off"
    frames: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class LessonStatus:
    """Lessons since the session was opened, and how many of them were taken back one by one."""

    taught: int = 0
    taken_back: int = 0


@dataclass(frozen=True)
class ClassStatus:
    """A class as the last step saw it. confidence: estimated DSC, 0 to 1"""

    id: int
    name: str
    color: str
    present: bool
    confidence: float
    update: str

    @classmethod
    def of(cls, spec: ClassSpec, result: ClassResult | None, update: Update | None) -> ClassStatus:
        """result, update: None before the first"""
        return cls(
            spec.class_id,
            spec.name,
            spec.color,
            present=bool(result and result.present),
            confidence=round(result.confidence, 3) if result else 0.0,
            update=str(update) if update else "",
        )


@dataclass(frozen=True)
class UnnamedStatus:
    """Instruments whose kind is unknown, in the last step. area: share of the picture, 0 to 1"""

    id: int
    name: str
    color: str
    area: float

    @classmethod
    def of(cls, last: Segmentation | None) -> UnnamedStatus:
        """last: the newest segmentation"""
        area = round(last.unnamed_area, 6) if last else 0.0
        return cls(UNNAMED.class_id, UNNAMED.name, UNNAMED.color, area)


def class_statuses(
    classes: Sequence[ClassSpec], last: Segmentation | None, updates: Iterable[Update]
) -> tuple[ClassStatus, ...]:
    """One for each class. last: the newest segmentation; updates: by the order of the classes"""
    results = {one.class_id: one for one in last.results} if last else {}
    newest = dict(zip(classes, updates, strict=False))
    return tuple(
        ClassStatus.of(spec, results.get(spec.class_id), newest.get(spec)) for spec in classes
    )


@dataclass(frozen=True)
class SessionStatus:
    """All that a session knows of itself; counts are totals since it was opened.

    renditions: by view, `overlay` and `plain`; updates: of classes, by what became of them
    """

    badge: Badge
    source: str
    profile: str
    source_fps: float
    viewers: int
    source_state: str
    picture: TakenAs
    demo: bool
    fps_in: float
    fps_out: float
    step_ms: Quantiles
    capture_to_send_ms: Quantiles
    deadline_ms: float
    frames_dropped: FramesDropped
    frames_in: int
    frames_sent: int
    frames_masked: int
    frames_shown_plain: int
    source_losses: int
    updates: dict[str, int]
    learner_failures: int
    learner_frozen: bool
    lessons: LessonStatus
    model_failures: int
    model_starts: int
    recording: RecordingStatus
    classes: tuple[ClassStatus, ...]
    unnamed: UnnamedStatus
    draw_and_encode_ms: Quantiles
    plain_capture_to_send_ms: Quantiles
    renditions: dict[str, RenditionStatus]
    masks_skipped: int

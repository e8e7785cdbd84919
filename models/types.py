"""What leaves the package: plain numpy and frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
LearnerState = tuple[npt.NDArray[np.float32], ...]  # what a stream learnt, as plain arrays

BACKGROUND_ID = 0
IGNORE_ID = 255
UNNAMED_ID = IGNORE_ID  # in an answer: an instrument of no kind that is sure enough


@dataclass(frozen=True)
class ClassSpec:
    """One class of a profile or data set.

    class_id: the caller's id, 1 to 254 (0 is background, 255 is ignore)
    color: "#rrggbb"
    """

    class_id: int
    name: str
    color: str


@dataclass(frozen=True)
class Click:
    """A point in shares of the picture's sides, 0 to 1; on the instrument, or off it."""

    x: float
    y: float
    on: bool = True


class Update(StrEnum):
    """What the online learner did with one class of one frame."""

    ACCEPTED = "accepted"  # confidence reached gamma, the update was kept
    REFUSED = "refused"  # confidence below gamma, nothing was learnt
    ROLLED_BACK = "rolled_back"  # the guard found that the update harmed the support samples
    PENDING = "pending"  # masks first: the learner has not decided yet
    WAITING = "waiting"  # confident, but another class's turn to learn from this frame
    FROZEN = "frozen"  # the learner is frozen, updates are off, or nothing is there to be learnt


@dataclass(frozen=True)
class ClassResult:
    """One class in one frame.

    confidence: calibrated estimate of the mask's DSC, 0 to 1
    area: share of the frame's pixels, 0 to 1
    """

    class_id: int
    present: bool
    confidence: float
    area: float
    update: Update


@dataclass(frozen=True)
class Segmentation:
    """The answer for one frame.

    class_map: (H, W) uint8 class ids at the input's own size, UNNAMED_ID where there is an
    instrument whose kind is unknown: as an annotation that would be ignored
    results: one per class of the profile, in the profile's order
    step_ms: wall time of the whole step, milliseconds
    """

    class_map: UInt8Array
    results: tuple[ClassResult, ...]
    step_ms: float

    @cached_property
    def unnamed_area(self) -> float:
        """Share of the frame's pixels that show an instrument whose kind is unknown, 0 to 1."""
        return int(np.count_nonzero(self.class_map == UNNAMED_ID)) / self.class_map.size

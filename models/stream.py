"""Records of one stream: a frame prepared, seen, to be learnt from; the state frames change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.backbone import DecodedMasks, ImageFeatures
from models.learner import LearnerSnapshot


@dataclass(frozen=True)
class PreparedFrame:
    """What of a step does not depend on the frames before: it may be done ahead, in any thread.

    size: (H, W) of the picture; image: (1, 3, S, S) normalised; color: (1, 6, h, w) by token_color
    described: (1, d, h, w) by describe; took_ms: part of the step's time
    """

    size: tuple[int, int]
    image: Tensor
    features: ImageFeatures
    color: Tensor
    described: Tensor
    took_ms: float


@dataclass(frozen=True)
class Pass:
    """One frame through the network."""

    features: ImageFeatures
    described: Tensor
    decoded: DecodedMasks
    raw: Tensor  # (C,) confidence before calibration


@dataclass(frozen=True)
class Lesson:
    """A frame that has been answered and not yet learnt from.

    undone: before it the state was rolled back, see `_sound_pass`
    """

    seen: Pass
    confidence: Tensor
    present: Tensor
    undone: bool


@dataclass(frozen=True)
class SavedState:
    """What `rollback` returns to."""

    learner: LearnerSnapshot
    bank: tuple[Tensor, ...]


@dataclass(frozen=True)
class LearntState:
    """What was learnt, what it could go back to, and how many lessons ago that was last saved."""

    now: SavedState
    saved: tuple[SavedState, ...]
    since_saved: int


@dataclass(frozen=True)
class StreamState:
    """Everything that the frames of a stream have changed."""

    learnt: LearntState
    frame: int
    tracks: Any  # what the namer remembers, None without one

"""Records of one stream: a frame as its rows saw it, and the state that frames change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.learner.online_learner import LearnerSnapshot
from models.learner.snapshots import Kept


@dataclass(frozen=True)
class Pass:
    """One frame through the network, by its rows."""

    features: ImageFeatures
    token_features: Tensor
    decoded: DecodedMasks


@dataclass(frozen=True)
class Lesson:
    """A frame that has been answered and not yet learnt from.

    sure: (C,) whose masks are confident, in a frame that can be learnt from
    undone: before it the state was rolled back, see Tracker
    """

    sure: list[bool]
    undone: bool


@dataclass(frozen=True)
class SavedState:
    """What `rollback` returns to."""

    learner: LearnerSnapshot
    bank: tuple[Tensor, ...]


@dataclass(frozen=True)
class LearntState:
    """What rows have learnt, and what they could go back to."""

    now: SavedState
    past: Kept[SavedState]


@dataclass(frozen=True)
class StreamState:
    """Everything that the frames of a stream have changed. way: see Strategy.remember"""

    strategy: Any
    frame: int

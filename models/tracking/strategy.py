"""How a frame becomes masks, and what its confident frames change: the interface of two ways.

The memory path (`memory_strategy.py`) is OFL-SAM2's: memory attention and mapping network, fused
and decoded. The instance head alone (`head_strategy.py`) predicts where held-out frames found that
the memory path adds nothing to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from models.engines.interface import Engine
from models.learner.online_learner import LearnerState
from models.types import Update

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Prediction:
    """The masks of C classes.

    mask_logits: (C, 1, 4h, 4w); object_logit: (C,) positive where the class is in the frame
    raw: (C,) confidence before calibration
    unnamed: (1, 4h, 4w) logits of what is an instrument and of no class; None: nothing ever is
    evidence: what a lesson would take from the frame, beside its masks; None: nothing
    """

    mask_logits: Tensor
    object_logit: Tensor
    raw: Tensor
    unnamed: Tensor | None = None
    evidence: Tensor | None = None


@dataclass(frozen=True)
class PreparedFrame(Generic[Prepared]):
    """What of a step does not depend on the frames before: it may be done ahead, in any thread.

    size: (H, W) of the picture; ahead: what a way needs of it; took_ms: part of the step's time
    """

    size: tuple[int, int]
    ahead: Prepared
    took_ms: float


class Strategy(ABC, Generic[Prepared]):
    """A way of answering the frames of one stream, with everything that they change."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of that with all its snapshots; constant."""

    @abstractmethod
    def prepare(self, engine: Engine, image: Tensor) -> Prepared:
        """What does not depend on the frames before. image: (1, 3, S, S) normalised"""

    @abstractmethod
    def predict(self, engine: Engine, frame: PreparedFrame[Prepared], number: int) -> Prediction:
        """The next frame's masks. number: of the frame, from 0 after a reset"""

    @abstractmethod
    def update(self, engine: Engine, sure: list[bool], number: int) -> tuple[Update, ...]:
        """Give time to learning, after the frame last answered.

        sure: (C,) who may learn from it: their masks are confident; number: of that frame
        """

    @abstractmethod
    def drop(self) -> None:
        """Give up a lesson that is under way; nothing has changed by it."""

    @abstractmethod
    def roll_back(self) -> None:
        """Go back to an earlier state of the learner, and forget where instruments were."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the profile, as at the beginning."""

    @abstractmethod
    def save(self) -> LearnerState:
        """What was learnt, to be given to another tracker of the same profile."""

    @abstractmethod
    def load(self, state: LearnerState) -> None:
        """Go on with what was learnt elsewhere."""

    @abstractmethod
    def snapshot(self) -> Any:
        """Everything as it stands, to be gone on from more than once."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Go on from there."""

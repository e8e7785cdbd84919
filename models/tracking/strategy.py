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

from models.backbone.prediction import Prediction
from models.types import LearnerState, Update

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class PreparedFrame(Generic[Prepared]):
    """What of a step does not depend on the frames before: it may be done ahead, in any thread.

    size: (H, W) of the picture; prepared: what a strategy needs; took_ms: part of the step's time
    """

    size: tuple[int, int]
    prepared: Prepared
    took_ms: float


@dataclass(frozen=True)
class LessonMasks:
    """What a person says of a frame, at the network's input size.

    mask: (C, S, S) float 0 or 1; counted: (S, S) float, 0 where nothing is said
    """

    mask: Tensor
    counted: Tensor


class Strategy(ABC, Generic[Prepared]):
    """Predicts the frames of one stream, and owns everything that they change."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of that with all its snapshots; constant."""

    @abstractmethod
    def prepare(self, image: Tensor) -> Prepared:
        """What does not depend on the frames before. image: (1, 3, S, S) normalised"""

    @abstractmethod
    def predict(self, prepared: Prepared, number: int) -> Prediction:
        """The next frame's masks. number: of the frame, from 0 after a reset"""

    @abstractmethod
    def update(self, confident: list[bool], number: int) -> tuple[Update, ...]:
        """Learn from the frame last predicted.

        confident: (C,) whose masks are; number: of that frame
        """

    @abstractmethod
    def teach(self, prepared: Prepared, lesson: LessonMasks) -> None:
        """Learn what a person says of a frame of this stream, at once and without a gate."""

    @abstractmethod
    def take_back(self) -> bool:
        """Undo the last lesson; False: there is none."""

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

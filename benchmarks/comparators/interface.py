"""What a method is to the comparison: fitted to annotated frames, then shown sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights
from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class FitSettings:
    """seed: of everything drawn at random

    effort: share of a trained method's own number of steps; below one only for trying things out
    """

    seed: int = 0
    effort: float = 1.0

    def steps(self, own: int) -> int:
        """Training steps for a method that takes `own` of them."""
        return max(1, round(own * self.effort))


class Predictor(Protocol):
    """Segments one sequence after another, frame by frame, never looking ahead."""

    def start(self) -> None:
        """Forget the sequence before."""

    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """The next frame. (H, W, 3) uint8 -> (H, W) uint8 class ids"""


@runtime_checkable
class PromptedPredictor(Predictor, Protocol):
    """One that cannot begin without the true mask of a sequence's first frame."""

    def prompt(self, image_rgb: UInt8Array, class_mask: UInt8Array) -> None:
        """The first frame and its truth, after `start`; steps go on from the second frame."""


class Fit(Protocol):
    """Annotated frames in, a predictor out."""

    def __call__(
        self,
        weights: LoadedWeights,
        classes: tuple[ClassSpec, ...],
        frames: AnnotatedFrames,
        settings: FitSettings,
    ) -> Predictor:
        """frames show at least one of the classes each; the backbone stays as it is."""

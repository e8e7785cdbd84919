"""Small real objects with scriptable behaviour, in the place of the model."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import numpy as np

from models.types import UNNAMED_ID, ClassResult, ClassSpec, Segmentation, UInt8Array, Update

CLASSES = (ClassSpec(1, "bright", "#00ff00"), ClassSpec(2, "never", "#ff00ff"))


@dataclass
class FakeTracker:
    """Finds bright pixels. Can be slow, and raise, hang or die at given steps.

    unnamed: whatever is bright is an instrument of unknown kind
    """

    open_s: float = 0.0
    step_s: float = 0.0
    raise_at: tuple[int, ...] = ()
    hang_at: tuple[int, ...] = ()
    die_at: tuple[int, ...] = ()
    learner_raises_at: tuple[int, ...] = ()
    classes: tuple[ClassSpec, ...] = CLASSES
    frozen: bool = False
    unnamed: bool = False
    steps: int = field(default=0)

    def __post_init__(self) -> None:
        time.sleep(self.open_s)

    def prepare(self, image_rgb: UInt8Array) -> UInt8Array:
        """Nothing can be done ahead."""
        return image_rgb

    def segment(self, image_rgb: UInt8Array) -> Segmentation:
        """Everything brighter than 150 is class 1."""
        self.steps += 1
        if self.steps in self.raise_at:
            raise RuntimeError("scripted failure")
        if self.steps in self.hang_at:
            time.sleep(3600)
        if self.steps in self.die_at:
            os._exit(9)
        time.sleep(self.step_s)
        found = (image_rgb.mean(axis=2) > 150).astype(np.uint8)
        share = 0.0 if self.unnamed else float(found.mean())
        if self.unnamed:
            found *= UNNAMED_ID
        results = (
            ClassResult(1, share > 0, 0.9, share, Update.PENDING),
            ClassResult(2, False, 0.1, 0.0, Update.PENDING),
        )
        return Segmentation(found, results, self.step_s * 1e3)

    def update(self) -> tuple[Update, ...]:
        """Refuse, or fail as the script says."""
        if self.steps in self.learner_raises_at:
            raise RuntimeError("scripted failure of the learner")
        return (Update.FROZEN if self.frozen else Update.REFUSED,) * 2

    def step(self, image_rgb: UInt8Array) -> Segmentation:
        """As look: this tracker never learns anything."""
        return self.segment(image_rgb)

    def freeze(self, frozen: bool = True) -> None:
        """Remember it."""
        self.frozen = frozen

    def rollback(self) -> None:
        """Nothing to go back to."""

    def reset(self) -> None:
        """Start counting again."""
        self.steps = 0

    def snapshot(self) -> int:
        """How many steps there were."""
        return self.steps

    def restore(self, state: int) -> None:
        """Count on from there."""
        self.steps = state

    def save(self) -> None:
        """Nothing was learnt."""

    def load(self, state: None) -> None:
        """Nothing to go on with."""


def open_named_after_the_wait_policy() -> FakeTracker:
    """A tracker whose class tells how OpenMP threads wait in the model's process."""
    return FakeTracker(classes=(ClassSpec(1, os.environ["OMP_WAIT_POLICY"], "#00ff00"),))

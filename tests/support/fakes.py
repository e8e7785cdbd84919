"""Small real objects with scriptable behaviour, in the place of the model."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LessonError
from models.types import (
    IGNORE_ID,
    UNNAMED_ID,
    ClassResult,
    ClassSpec,
    Click,
    Segmentation,
    UInt8Array,
    Update,
)

CLASSES = (ClassSpec(1, "bright", "#00ff00"), ClassSpec(2, "never", "#ff00ff"))


@dataclass
class FakeTracker:
    """Finds bright pixels. Can be slow, and raise, hang or die at given steps.

    unnamed: whatever is bright is an instrument of unknown kind
    names: what whatever is bright was called by each lesson; the newest holds
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
    names: list[int] = field(default_factory=list)
    lesson_s: float = 0.0

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
        name = self.names[-1] if self.names else 1
        found[found == 1] = name
        results = tuple(
            ClassResult(one, one == name and share > 0, 0.9 if one == name else 0.1,
                        share * (one == name), Update.PENDING)
            for one in (1, 2)
        )  # fmt: skip
        return Segmentation(found, results, self.step_s * 1e3)

    def segment_clicks(
        self, image_rgb: UInt8Array, clicks: Sequence[Click]
    ) -> npt.NDArray[np.bool_]:
        """Whatever is bright, if the first click lies on it."""
        bright = image_rgb.mean(axis=2) > 150
        height, width = bright.shape
        row, column = int(clicks[0].y * (height - 1)), int(clicks[0].x * (width - 1))
        return np.asarray(bright & bright[row, column])

    def teach(self, image_rgb: UInt8Array, class_map: UInt8Array) -> None:
        """Call whatever is bright so; takes lesson_s."""
        time.sleep(self.lesson_s)
        (name,) = set(np.unique(class_map).tolist()) - {IGNORE_ID}
        if name not in (0, 1, 2):
            raise LessonError(f"expected class ids of 1, 2, 0 or 255, got {name}")
        self.names.append(name)

    def take_back(self) -> bool:
        """Forget the newest name."""
        there_was_one = bool(self.names)
        self.names = self.names[:-1]
        return there_was_one

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
        """Start counting again, with no lessons."""
        self.steps = 0
        self.names.clear()

    def snapshot(self) -> int:
        """How many steps there were."""
        return self.steps

    def restore(self, state: int) -> None:
        """Count on from there."""
        self.steps = state

    def save(self) -> Any:
        """The lessons; None where there was none."""
        return tuple(self.names) or None

    def load(self, state: Any) -> None:
        """Go on with those lessons."""
        self.names = list(state)


def open_named_after_the_wait_policy() -> FakeTracker:
    """A tracker whose class tells how OpenMP threads wait in the model's process."""
    return FakeTracker(classes=(ClassSpec(1, os.environ["OMP_WAIT_POLICY"], "#00ff00"),))

"""OFL-SAM2, whole and with parts changed or left out: the ablations of the paper.

A variant that changes how a profile is fitted is fitted anew; one that only changes what a tracker
does with it shares the whole method's profile, with everything that was chosen for the whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch

from benchmarks.comparators.interface import FitSettings
from models.config import FitConfig, LearnerConfig, MemoryConfig
from models.fitting.annotated import AnnotatedFrames
from models.fitting.fit import fit_frames
from models.method.checkpoint import LoadedWeights
from models.method.profile import Profile
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import ClassSpec, UInt8Array, Update

Fitted = tuple[LearnerConfig | None, MemoryConfig | None, int | None]


@dataclass(frozen=True)
class Variant:
    """What differs from the whole method.

    learner, memory, epochs: fitted anew with these, where given (epochs of the fusion)
    online_iterations: steps at inference
    guarded: undo updates that harm; off, every update is kept
    """

    ablation: Ablation = field(default_factory=Ablation)
    learner: LearnerConfig | None = None
    memory: MemoryConfig | None = None
    epochs: int | None = None
    online_iterations: int | None = None
    guarded: bool = True


class OflSam2Fits:
    """Profiles of one set of annotated frames, each fitted once."""

    def __init__(
        self,
        weights: LoadedWeights,
        classes: tuple[ClassSpec, ...],
        frames: AnnotatedFrames,
        settings: FitSettings,
    ) -> None:
        self._weights, self._classes, self._frames = weights, classes, frames
        self._settings = settings
        self._profiles: dict[Fitted, Profile] = {}

    def predictor(self, variant: Variant) -> TrackerPredictor:
        """Fits it if that has not been done."""
        key = (variant.learner, variant.memory, variant.epochs)
        if key not in self._profiles:
            fitted = fit_frames(
                self._weights,
                self._classes,
                self._frames,
                FitConfig(seed=self._settings.seed, epochs=self._epochs(variant)),
                learner=variant.learner,
                memory=variant.memory,
            )
            self._profiles[key] = fitted[0]
        profile = _changed(self._profiles[key], variant)
        return TrackerPredictor(Tracker(self._weights, profile, variant.ablation))

    def _epochs(self, variant: Variant) -> int | None:
        return None if variant.epochs is None else self._settings.steps(variant.epochs)


def _changed(profile: Profile, variant: Variant) -> Profile:
    if variant.online_iterations is not None:
        learner = replace(profile.learner, online_iterations=variant.online_iterations)
        profile = replace(profile, learner=learner)
    if not variant.guarded:
        anything = torch.full_like(profile.start.tolerance, float("inf"))
        start = replace(profile.start, tolerance=anything, surprise=anything.clone())
        profile = replace(profile, start=start)
    return profile


class TrackerPredictor:
    """A tracker as a predictor. updates: what became of each class in each frame so far"""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.updates: Counter[Update] = Counter()

    def start(self) -> None:
        """The profile's state again, nothing counted."""
        self._tracker.reset()
        self.updates.clear()

    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """Segment and learn."""
        result = self._tracker.step(image_rgb)
        self.updates.update(one.update for one in result.results)
        return result.class_map

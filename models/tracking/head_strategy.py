"""Frames predicted by the instance head alone; names by exemplars, lessons and along tracks.

For profiles whose held-out frames found nothing that the memory path could add: it is not run,
which halves a step. By itself this strategy learns nothing: regions of confident frames as further
exemplars were worth nothing that 40 procedures show. It learns what a person teaches, by a mapping
network on regions (`taught_names.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.backbone.prediction import Prediction
from models.config import LearnerConfig
from models.engines.interface import Engine
from models.instances.instance_classifier import ClassifierState, InstanceClassifier
from models.instances.instance_head import HeadOutput
from models.learner.online_learner import LearnerSnapshot
from models.learner.snapshots import LESSONS, Lessons
from models.tracking.frame_functions import encode_with_head
from models.tracking.strategy import LessonMasks, Strategy
from models.tracking.taught_names import TaughtNames
from models.types import LearnerState, Update


@dataclass(frozen=True)
class _State:
    names: LearnerSnapshot
    lessons: tuple[LearnerSnapshot, ...]
    tracks: ClassifierState


class HeadStrategy(Strategy[HeadOutput]):
    """See the module's docstring."""

    def __init__(
        self, engine: Engine, classifier: InstanceClassifier, classes: int, config: LearnerConfig
    ) -> None:
        """classes: C, of the profile"""
        self._engine, self._classifier, self._classes = engine, classifier, classes
        self._names = TaughtNames(classifier, classes, config)
        self._lessons: Lessons[LearnerSnapshot] = Lessons()

    @property
    def nbytes(self) -> int:
        """See Strategy."""
        learner = self._names.learner
        return learner.nbytes + LESSONS * learner.snapshot_nbytes

    def prepare(self, image: Tensor) -> HeadOutput:
        """See Strategy."""
        return encode_with_head(self._engine, self._classifier.head, image)[1]

    def predict(self, prepared: HeadOutput, number: int) -> Prediction:
        """See Strategy."""
        return self._classifier.predict(prepared)

    def update(self, confident: list[bool], number: int) -> tuple[Update, ...]:
        """See Strategy: nothing is learnt without a person."""
        return (Update.FROZEN,) * self._classes

    def teach(self, prepared: HeadOutput, lesson: LessonMasks) -> None:
        """See Strategy."""
        self._lessons.begin(self._names.learner.snapshot())
        self._names.teach(prepared, lesson)

    def take_back(self) -> bool:
        """See Strategy."""
        before = self._lessons.take_back()
        if before is not None:
            self._restore(before)
        return before is not None

    def roll_back(self) -> None:
        """See Strategy: all lessons are taken back."""
        self.reset()

    def reset(self) -> None:
        """See Strategy."""
        self._classifier.reset()
        self._names.learner.reset()
        self._names.apply()
        self._lessons.forget()

    def save(self) -> LearnerState:
        """See Strategy."""
        return self._names.learner.snapshot().arrays()

    def load(self, state: LearnerState) -> None:
        """See Strategy."""
        self._restore(LearnerSnapshot.of(state, self._engine.device))
        self._lessons.forget()

    def snapshot(self) -> _State:
        """See Strategy."""
        names = self._names.learner.snapshot()
        return _State(names, self._lessons.before, self._classifier.snapshot())

    def restore(self, state: _State) -> None:
        """See Strategy."""
        self._restore(state.names)
        self._lessons.before = state.lessons
        self._classifier.restore(state.tracks)

    def _restore(self, names: LearnerSnapshot) -> None:
        self._names.learner.restore(names)
        self._names.apply()

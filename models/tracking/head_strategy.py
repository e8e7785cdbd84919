"""Frames answered by the instance head alone, names by likeness to references and along tracks.

For profiles whose held-out frames found nothing that the rows, with their memory and mapping
network, could add: they are not run, which halves a step. What learns online are the references:
the largest region of a confident class joins them, if its name is next to certain.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.engines.interface import Engine
from models.instances.exemplar_learner import ExemplarLearner
from models.instances.exemplars import RecentExemplars
from models.instances.instance_classifier import (
    ClassifiedRegions,
    ClassifierState,
    InstanceClassifier,
)
from models.instances.instance_head import HeadOutput
from models.learner.online_learner import LearnerState
from models.learner.snapshots import Kept, Snapshots
from models.tracking.strategy import Prediction, PreparedFrame, Strategy
from models.types import Update

SURE_NAME = 0.9  # chosen on 24 validation procedures (docs/method.md)


@dataclass(frozen=True)
class _State:
    recent: RecentExemplars
    past: Kept[RecentExemplars]
    names: ClassifierState


class HeadStrategy(Strategy[HeadOutput]):
    """See the module's docstring."""

    def __init__(
        self,
        labeler: InstanceClassifier,
        rows: int,
        *,
        sure_name: float = SURE_NAME,
        guarded: bool = True,
    ) -> None:
        """rows: C, the profile's classes; guarded: the learner may object, see reference_learner.py

        sure_name: share of its name from which a region teaches
        """
        self._labeler, self._rows = labeler, rows
        self._sure_name, self._guarded = sure_name, guarded
        self._learner = ExemplarLearner(labeler.exemplars, rows)
        self._history: Snapshots[RecentExemplars] = Snapshots()
        self._seen: ClassifiedRegions | None = None  # in the frame last answered

    @property
    def nbytes(self) -> int:
        """See Strategy."""
        return 3 * self._learner.recent.nbytes

    def prepare(self, engine: Engine, image: Tensor) -> HeadOutput:
        """See Strategy."""
        return self._labeler.see(engine, image)[1]

    def predict(self, engine: Engine, frame: PreparedFrame[HeadOutput], number: int) -> Prediction:
        """See Strategy."""
        prediction, self._seen = self._labeler.predict(frame.ahead, self._rows)
        return prediction

    def update(self, engine: Engine, sure: list[bool], number: int) -> tuple[Update, ...]:
        """See Strategy. With one class there is no name to learn."""
        if self._seen is None:
            return (Update.FROZEN,) * self._rows
        updates = tuple(
            self._update(row, self._seen) if wanted else Update.REFUSED
            for row, wanted in enumerate(sure)
        )
        self._labeler.recent = self._learner.recent
        return updates

    def drop(self) -> None:
        """See Strategy: a lesson is learnt at once."""

    def roll_back(self) -> None:
        """See Strategy."""
        self._labeler.reset()
        earlier = self._history.back()
        if earlier is None:
            self._learner.reset()
        else:
            self._learner.recent = earlier
        self._labeler.recent = self._learner.recent

    def reset(self) -> None:
        """See Strategy."""
        self._history.forget()
        self.roll_back()

    def save(self) -> LearnerState:
        """See Strategy."""
        return self._learner.recent.arrays()

    def load(self, state: LearnerState) -> None:
        """See Strategy."""
        device = self._learner.recent.embedding.device
        self._labeler.recent = self._learner.recent = RecentExemplars.of(state, device)

    def snapshot(self) -> _State:
        """See Strategy."""
        return _State(self._learner.recent, self._history.past, self._labeler.snapshot())

    def restore(self, state: _State) -> None:
        """See Strategy."""
        self._labeler.recent = self._learner.recent = state.recent
        self._history.past = state.past
        self._labeler.restore(state.names)

    def _update(self, row: int, seen: ClassifiedRegions) -> Update:
        """A confident class's largest region that is next to certain."""
        shares = seen.shares
        own = (shares.argmax(axis=1) == row) & (shares[:, row] >= self._sure_name)
        if not own.any():
            return Update.REFUSED
        largest = int((seen.area * own).argmax())
        if not self._learner.update(row, seen.embedding[largest], guarded=self._guarded):
            return Update.ROLLED_BACK
        self._history.accepted(lambda: self._learner.recent)
        return Update.ACCEPTED

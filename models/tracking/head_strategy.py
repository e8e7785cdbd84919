"""Frames answered by the parting head alone, names by likeness to references and along tracks.

For profiles whose held-out frames found nothing that the rows, with their memory and mapping
network, could add: they are not run, which halves a step. What learns online are the references:
the largest region of a confident class joins them, if its name is next to certain.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.engines.interface import Engine
from models.instances.exemplar_learner import ReferenceLearner
from models.instances.exemplars import Recent
from models.instances.instance_classifier import InstanceNamer, NamedRegions, NamerState
from models.instances.instance_head import PartedFrame
from models.learner.online_learner import LearnerState
from models.learner.snapshots import History, Past
from models.tracking.strategy import Answer, Answering, PreparedFrame
from models.types import Update

SURE_NAME = 0.9  # chosen on 24 validation procedures (docs/method.md)


@dataclass(frozen=True)
class _State:
    recent: Recent
    past: Past[Recent]
    names: NamerState


class ByHead(Answering[PartedFrame]):
    """See the module's docstring."""

    def __init__(
        self, namer: InstanceNamer, rows: int, *, sure_name: float = SURE_NAME, guarded: bool = True
    ) -> None:
        """rows: C, the profile's classes; guarded: the learner may object, see reference_learner.py

        sure_name: share of its name from which a region teaches
        """
        self._namer, self._rows = namer, rows
        self._sure_name, self._guarded = sure_name, guarded
        self._learner = ReferenceLearner(namer.references, rows)
        self._history: History[Recent] = History()
        self._seen: NamedRegions | None = None  # in the frame last answered

    @property
    def nbytes(self) -> int:
        """See Answering."""
        return 3 * self._learner.recent.nbytes

    def prepare(self, engine: Engine, image: Tensor) -> PartedFrame:
        """See Answering."""
        return self._namer.see(engine, image)[1]

    def answer(self, engine: Engine, frame: PreparedFrame[PartedFrame], number: int) -> Answer:
        """See Answering."""
        answer, self._seen = self._namer.answer(frame.ahead, self._rows)
        return answer

    def learn(self, engine: Engine, sure: list[bool], number: int) -> tuple[Update, ...]:
        """See Answering. With one class there is no name to learn."""
        if self._seen is None:
            return (Update.FROZEN,) * self._rows
        updates = tuple(
            self._learn(row, self._seen) if wanted else Update.REFUSED
            for row, wanted in enumerate(sure)
        )
        self._namer.recent = self._learner.recent
        return updates

    def drop(self) -> None:
        """See Answering: a lesson is learnt at once."""

    def roll_back(self) -> None:
        """See Answering."""
        self._namer.reset()
        earlier = self._history.back()
        if earlier is None:
            self._learner.reset()
        else:
            self._learner.recent = earlier
        self._namer.recent = self._learner.recent

    def reset(self) -> None:
        """See Answering."""
        self._history.forget()
        self.roll_back()

    def save(self) -> LearnerState:
        """See Answering."""
        return self._learner.recent.arrays()

    def load(self, state: LearnerState) -> None:
        """See Answering."""
        device = self._learner.recent.description.device
        self._namer.recent = self._learner.recent = Recent.of(state, device)

    def remember(self) -> _State:
        """See Answering."""
        return _State(self._learner.recent, self._history.past, self._namer.remember())

    def return_to(self, state: _State) -> None:
        """See Answering."""
        self._namer.recent = self._learner.recent = state.recent
        self._history.past = state.past
        self._namer.return_to(state.names)

    def _learn(self, row: int, seen: NamedRegions) -> Update:
        """A confident class's largest region that is next to certain."""
        shares = seen.shares
        own = (shares.argmax(axis=1) == row) & (shares[:, row] >= self._sure_name)
        if not own.any():
            return Update.REFUSED
        largest = int((seen.area * own).argmax())
        if not self._learner.learn(row, seen.description[largest], guarded=self._guarded):
            return Update.ROLLED_BACK
        self._history.accepted(lambda: self._learner.recent)
        return Update.ACCEPTED

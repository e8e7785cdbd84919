"""The online few-shot learner of one stream: gated, guarded, reversible.

State per class row: the mapping network's weights and the statistics of recent confident frames.
The annotated samples' statistics never change and keep at least `support_weight` of the total, so
the learner stays anchored to what people annotated. Memory is constant: no frame is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.config import LearnerConfig
from models.learner.mapping_network import Statistics, mapping_loss
from models.learner.update_steps import Gathered, HalfWay, Known, Sample, Teacher, TorchTeacher

LearnerState = tuple[npt.NDArray[np.float32], ...]  # a snapshot's arrays


@dataclass(frozen=True)
class LearnerStart:
    """What a profile gives the learner.

    tau: (C, D, d); anchor: statistics of the annotated frames, weight one per row
    ridge: weight of ||T||^2; tolerance: (C,) relative rise of the support loss the guard accepts
    surprise: (C,) largest loss of T on a new frame, before it learns, that the guard believes
    """

    tau: Tensor
    anchor: Statistics
    ridge: float
    tolerance: Tensor
    surprise: Tensor


@dataclass(frozen=True)
class LearnerSnapshot:
    """A copy of everything an update changes."""

    tau: Tensor
    recent: Statistics
    seen: Tensor

    def arrays(self) -> LearnerState:
        """The same without torch, to be kept in another process."""
        recent = self.recent
        tensors = (self.tau, recent.gram, recent.cross, recent.energy, recent.weight, self.seen)
        return tuple(tensor.numpy(force=True) for tensor in tensors)  # from a GPU, too

    @classmethod
    def of(cls, arrays: LearnerState) -> LearnerSnapshot:
        """Back from arrays."""
        tau, gram, cross, energy, weight, seen = (torch.from_numpy(one.copy()) for one in arrays)
        return cls(tau, Statistics(gram, cross, energy, weight), seen)


@dataclass(frozen=True)
class UnderWay:
    """A part of an update.

    seen: (n,) share of the recent samples that was seen, with this frame
    """

    known: Known
    seen: Tensor
    gathered: Gathered


@dataclass(frozen=True)
class Proposal:
    """An update that is ready. kept: (n,) bool, by the guard; learnt: of those n rows"""

    kept: Tensor
    learnt: LearnerSnapshot


class OnlineLearner:
    """Mapping networks of C classes and how they follow the stream."""

    def __init__(
        self, start: LearnerStart, config: LearnerConfig, teacher: Teacher | None = None
    ) -> None:
        """teacher: who does the arithmetic of a lesson; None is torch"""
        self._start, self._config = start, config
        self._teacher = teacher or TorchTeacher(config.online_iterations)
        self._ridge = torch.tensor([start.ridge], device=start.tau.device)
        self._limit = mapping_loss(start.tau, start.anchor) * (1 + start.tolerance)
        self.tau = start.tau.clone()
        self._recent = _copy(start.anchor)
        self._seen = torch.zeros(len(start.tau), device=start.tau.device)

    @property
    def nbytes(self) -> int:
        """Bytes held: constant over the life of a stream."""
        recent, anchor = self._recent, self._start.anchor
        held = [self.tau, self._start.tau, self._seen]
        for statistics in (recent, anchor):
            held += [statistics.gram, statistics.cross, statistics.energy, statistics.weight]
        return sum(t.numel() * t.element_size() for t in held)

    def update(self, rows: Tensor, sample: Sample) -> Tensor:
        """Learn from a confident frame at once; (n,) bool, True where the update was kept."""
        lesson = self.gather(rows, sample)
        proposal = self.finish(rows, lesson, self.begin(lesson))
        self.adopt(rows, proposal)
        return proposal.kept

    def gather(self, rows: Tensor, sample: Sample) -> UnderWay:
        """The first part of an update; only `adopt` changes anything.

        rows: (n,) long, rising; sample: the frame for these rows
        """
        config, place = self._config, _place(rows)
        seen = self._seen[place] * (1 - config.decay) + config.decay
        known = Known(
            tau=self.tau[place],
            anchor=self._start.anchor.rows(place),
            recent=self._recent.rows(place),
            decay=torch.full_like(seen, config.decay),
            share=seen * (1 - config.support_weight),
            ridge=self._ridge,
        )
        return UnderWay(known, seen, self._teacher.gather(known, sample))

    def begin(self, lesson: UnderWay) -> HalfWay:
        """The second part."""
        return self._teacher.begin(lesson.known, lesson.gathered)

    def finish(self, rows: Tensor, lesson: UnderWay, half: HalfWay) -> Proposal:
        """The third. lesson: of these rows, since when the learner has not changed"""
        gathered = lesson.gathered
        new = self._teacher.finish(lesson.known, gathered, half)
        believed = gathered.surprise <= self._start.surprise[rows]
        harmless = torch.isfinite(new.anchor_loss) & (new.anchor_loss <= self._limit[rows])
        kept = harmless & believed & _finite(gathered.recent)
        return Proposal(kept, LearnerSnapshot(new.tau, gathered.recent, lesson.seen))

    def adopt(self, rows: Tensor, proposal: Proposal) -> None:
        """Take it over; rows that the guard rejects stay exactly as they were."""
        kept, new = proposal.kept, proposal.learnt
        if len(rows) == len(self.tau) and bool(kept.all()):
            self.tau, self._recent, self._seen = new.tau, new.recent, new.seen
            return
        good = _place(rows[kept])
        every = slice(None) if bool(kept.all()) else kept
        self.tau[good], self._seen[good] = new.tau[every], new.seen[every]
        for own, fresh in _pairs(self._recent, new.recent.rows(every)):
            own[good] = fresh

    def snapshot(self) -> LearnerSnapshot:
        """A copy to come back to."""
        return LearnerSnapshot(self.tau.clone(), _copy(self._recent), self._seen.clone())

    def restore(self, snapshot: LearnerSnapshot) -> None:
        """Bring a snapshot back."""
        self.tau = snapshot.tau.clone()
        self._recent = _copy(snapshot.recent)
        self._seen = snapshot.seen.clone()

    def reset(self) -> None:
        """As the profile left it."""
        self.tau = self._start.tau.clone()
        self._recent = _copy(self._start.anchor)
        self._seen = torch.zeros_like(self._seen)


def _place(rows: Tensor) -> Tensor | slice:
    """Neighbouring rows as a slice: a view, for the Gram matrices are a learner's bulk.

    rows: (n,) long, rising
    """
    ends = rows[[0, -1]].tolist() if len(rows) else [0, -1]
    return slice(ends[0], ends[1] + 1) if ends[1] - ends[0] + 1 == len(rows) else rows


def _copy(statistics: Statistics) -> Statistics:
    return Statistics(
        statistics.gram.clone(),
        statistics.cross.clone(),
        statistics.energy.clone(),
        statistics.weight.clone(),
    )


def _pairs(own: Statistics, new: Statistics) -> list[tuple[Tensor, Tensor]]:
    return [
        (own.gram, new.gram),
        (own.cross, new.cross),
        (own.energy, new.energy),
        (own.weight, new.weight),
    ]


def _finite(statistics: Statistics) -> Tensor:
    """(R,) bool"""
    sums = statistics.gram.sum(dim=(1, 2)) + statistics.cross.sum(dim=(1, 2)) + statistics.energy
    return torch.isfinite(sums)

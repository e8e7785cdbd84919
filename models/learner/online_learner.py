"""The online few-shot learner of one stream: gated, guarded, reversible, and open to a person.

State per class: the mapping network's weights, statistics of recent confident frames, and of
frames that a person corrected. The annotated samples keep at least `support_weight` beside recent
frames; a lesson weighs as much as both. Memory is constant: no frame is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.config import LearnerConfig
from models.learner.mapping_network import (
    Sample,
    Statistics,
    descend,
    mapping_loss,
    ridge_solution,
)
from models.tensor_tree import mapped, tensors_in
from models.types import LearnerState

LESSON_WEIGHT = 1.0  # of a lesson, beside all that was annotated and followed


@dataclass(frozen=True)
class LearnerStart:
    """What a profile gives the learner.

    tau: (C, D, d); anchor: statistics of the annotated frames, weight one per class
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
    """A copy of everything an update changes.

    recent: its weight is the share of recent samples that was seen, 0 to 1
    taught: sums over lessons, one each
    """

    tau: Tensor
    recent: Statistics
    taught: Statistics

    def arrays(self) -> LearnerState:
        """The same without torch, to be kept in another process."""
        return tuple(tensor.numpy(force=True) for tensor in tensors_in(self))  # from a GPU, too

    @classmethod
    def of(cls, arrays: LearnerState, device: torch.device) -> LearnerSnapshot:
        """Back from arrays."""
        tau, *rest = (torch.from_numpy(one.copy()).to(device) for one in arrays)
        return cls(tau, Statistics(*rest[:4]), Statistics(*rest[4:]))


class OnlineLearner:
    """Mapping networks of C classes and how they follow the stream."""

    def __init__(
        self, start: LearnerStart, config: LearnerConfig, lesson_weight: float = LESSON_WEIGHT
    ) -> None:
        """lesson_weight: of a lesson of weight one, beside all that was annotated and followed"""
        self._start, self._config, self._lesson_weight = start, config, lesson_weight
        self._limit = mapping_loss(start.tau, start.anchor) * (1 + start.tolerance)
        self.tau = start.tau.clone()
        self._recent = mapped(start.anchor, torch.zeros_like)
        self._taught = mapped(start.anchor, torch.zeros_like)
        self._has_lessons = False

    @property
    def nbytes(self) -> int:
        """Bytes held: constant over the life of a stream."""
        held = tensors_in((self._state(), self._start.tau, self._start.anchor))
        return sum(t.numel() * t.element_size() for t in held)

    @property
    def snapshot_nbytes(self) -> int:
        """Bytes of a snapshot."""
        return sum(t.numel() * t.element_size() for t in tensors_in(self._state()))

    def update(self, classes: Tensor, sample: Sample) -> Tensor:
        """Learn from a confident frame, unless the guard objects: then nothing changes.

        classes: (n,) long, rising; sample: the frame for these classes
        returns: (n,) bool, whose update was kept
        """
        place, config = _place(classes), self._config
        anchor, before = self._start.anchor.rows(place), self.tau[place]
        fresh = sample.statistics()
        decay = torch.full_like(fresh.weight, config.decay)
        recent = self._recent.rows(place).mixed(fresh, decay)
        objective = self._objective(anchor, recent, self._taught.rows(place))
        tau = descend(before, objective, self._start.ridge, config.online_iterations)
        believed = mapping_loss(before, fresh) <= self._start.surprise[classes]
        loss = mapping_loss(tau, anchor)
        harmless = torch.isfinite(loss) & (loss <= self._limit[classes])
        kept = harmless & believed & _finite(recent)
        self._adopt(classes, kept, tau, recent)
        return kept

    def teach(self, sample: Sample) -> None:
        """Learn what a person says of a frame, for all C classes, in closed form; no guard.

        What is not a number is left out.
        """
        fresh = sample.statistics()
        taught = self._taught.plus(fresh)
        self._has_lessons = True
        tau = ridge_solution(self._objective(self._start.anchor, self._recent, taught), self._ridge)
        known = fresh.weight > 0  # of a class that nobody speaks of nothing is learnt
        good = known & _finite(fresh) & torch.isfinite(tau).flatten(1).all(dim=1)
        self.tau = torch.where(good[:, None, None], tau, self.tau)
        self._taught = _chosen(good, taught, self._taught)

    def snapshot(self) -> LearnerSnapshot:
        """A copy to come back to."""
        return mapped(self._state(), torch.clone)

    def restore(self, snapshot: LearnerSnapshot) -> None:
        """Bring a snapshot back."""
        own = mapped(snapshot, torch.clone)
        self.tau, self._recent, self._taught = own.tau, own.recent, own.taught
        self._has_lessons = bool((own.taught.weight > 0).any())

    def reset(self) -> None:
        """As the profile left it."""
        self.tau = self._start.tau.clone()
        self._recent = mapped(self._start.anchor, torch.zeros_like)
        self._taught = mapped(self._start.anchor, torch.zeros_like)
        self._has_lessons = False

    @property
    def _ridge(self) -> float:
        return self._start.ridge

    def _state(self) -> LearnerSnapshot:
        return LearnerSnapshot(self.tau, self._recent, self._taught)

    def _objective(self, anchor: Statistics, recent: Statistics, taught: Statistics) -> Statistics:
        """Mean statistics that T is fitted to, of weight one."""
        own = 1 - self._config.support_weight
        followed = anchor.scaled(1 - own * recent.weight)
        followed = followed.plus(recent.scaled(torch.full_like(recent.weight, own)))
        if not self._has_lessons:
            return followed
        whole = followed.plus(taught.scaled(torch.full_like(taught.weight, self._lesson_weight)))
        return whole.normalized()

    def _adopt(self, classes: Tensor, kept: Tensor, tau: Tensor, recent: Statistics) -> None:
        good = _place(classes[kept])
        self.tau[good] = tau[kept]
        for own, fresh in zip(tensors_in(self._recent), tensors_in(recent), strict=True):
            own[good] = fresh[kept]


def _place(classes: Tensor) -> Tensor | slice:
    """Neighbouring classes as a slice: a view, for the Gram matrices are a learner's bulk.

    classes: (n,) long, rising
    """
    ends = classes[[0, -1]].tolist() if len(classes) else [0, -1]
    return slice(ends[0], ends[1] + 1) if ends[1] - ends[0] + 1 == len(classes) else classes


def _chosen(good: Tensor, new: Statistics, old: Statistics) -> Statistics:
    pairs = zip(tensors_in(new), tensors_in(old), strict=True)
    return Statistics(*(torch.where(good.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in pairs))


def _finite(statistics: Statistics) -> Tensor:
    """(R,) bool"""
    sums = statistics.gram.sum(dim=(1, 2)) + statistics.cross.sum(dim=(1, 2)) + statistics.energy
    return torch.isfinite(sums)

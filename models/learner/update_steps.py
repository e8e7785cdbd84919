"""One online update as pure functions: what a frame taken as true adds, what T makes of it.

Static shapes and no state, so that an engine may run them as graphs (engines/openvino_teacher.py).
Everything that is decided, the guard above all, stays with the learner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.learner.mapping_network import Statistics, descend_on, descent_gradient, mapping_loss


@dataclass(frozen=True)
class Sample:
    """A frame taken as true, for n rows.

    described: (1, d, hw); target: (n, D, hw); weight: (n, hw) of the tokens, sums to one in a row
    """

    token_features: Tensor
    target: Tensor
    weight: Tensor

    def statistics(self) -> Statistics:
        """Of weight one."""
        token_features, target, weight = self.token_features, self.target, self.weight
        return Statistics.of(token_features[None], target[:, None], weight[:, None])


@dataclass(frozen=True)
class Known:
    """What n rows know before a lesson.

    tau: (n, D, d); anchor, recent: statistics of weight one
    decay, share: (n,) of the recent statistics that is replaced; of them beside the anchor
    ridge: (1,) weight of ||T||^2
    """

    tau: Tensor
    anchor: Statistics
    recent: Statistics
    decay: Tensor
    share: Tensor
    ridge: Tensor


@dataclass(frozen=True)
class Gathered:
    """What the samples say, the new frame among them.

    recent: to be kept or not; mixed: of annotated and recent samples, what T descends on
    surprise: (n,) loss of the old T on the new frame
    """

    recent: Statistics
    mixed: Statistics
    surprise: Tensor


@dataclass(frozen=True)
class Learnt:
    """What the lesson would make of T. anchor_loss: (n,) of the new T on the annotated samples"""

    tau: Tensor
    anchor_loss: Tensor


@dataclass(frozen=True)
class HalfWay:
    """T in the middle of the descent, and the gradient there. (n, D, d) each"""

    tau: Tensor
    gradient: Tensor


class Teacher(Protocol):
    """Who does the arithmetic of a lesson: three parts about as long as each other."""

    def gather(self, known: Known, sample: Sample) -> Gathered:
        """Add a frame to the samples."""

    def begin(self, known: Known, gathered: Gathered) -> HalfWay:
        """Steepest descent on the annotated samples and the recent ones, its first steps."""

    def finish(self, known: Known, gathered: Gathered, half: HalfWay) -> Learnt:
        """Its last steps, and what the guard asks."""


class TorchTeacher:
    """By torch: the oracle."""

    def __init__(self, iterations: int) -> None:
        self._first = iterations // 2
        self._last = iterations - self._first

    def gather(self, known: Known, sample: Sample) -> Gathered:
        """See Teacher."""
        fresh = sample.statistics()
        recent = known.recent.mixed(fresh, known.decay)
        mixed = known.anchor.mixed(recent, known.share)
        return Gathered(recent, mixed, mapping_loss(known.tau, fresh))

    def begin(self, known: Known, gathered: Gathered) -> HalfWay:
        """See Teacher."""
        gradient = descent_gradient(known.tau, gathered.mixed, known.ridge)
        return HalfWay(*descend_on(known.tau, gradient, gathered.mixed, known.ridge, self._first))

    def finish(self, known: Known, gathered: Gathered, half: HalfWay) -> Learnt:
        """See Teacher."""
        start = (half.tau, half.gradient)
        tau, _ = descend_on(*start, gathered.mixed, known.ridge, self._last)
        return Learnt(tau, mapping_loss(tau, known.anchor))

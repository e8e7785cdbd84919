"""One online update as a pure function: a frame taken as true, and what it makes of T.

Static shapes and no state, so that an engine may run it as a graph (engines/openvino_teacher.py).
Everything that is decided, the guard above all, stays with the learner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from models.mapper import Statistics, descend, mapping_loss


@dataclass(frozen=True)
class Sample:
    """A frame taken as true, for n rows.

    described: (1, d, hw); target: (n, D, hw); weight: (n, hw) of the tokens, sums to one in a row
    """

    described: Tensor
    target: Tensor
    weight: Tensor

    def statistics(self) -> Statistics:
        """Of weight one."""
        described, target, weight = self.described, self.target, self.weight
        return Statistics.of(described[None], target[:, None], weight[:, None])


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
class Learnt:
    """What the lesson would make of it.

    tau, recent: to be kept or not; anchor_loss: (n,) of the new T on the annotated samples
    surprise: (n,) loss of the old T on the new frame
    """

    tau: Tensor
    recent: Statistics
    anchor_loss: Tensor
    surprise: Tensor


Teacher = Callable[[Known, Sample], Learnt]


def teach(known: Known, sample: Sample, iterations: int) -> Learnt:
    """Steepest descent on the annotated samples and the recent ones, this frame among them."""
    fresh = sample.statistics()
    recent = known.recent.mixed(fresh, known.decay)
    mixed = known.anchor.mixed(recent, known.share)
    tau = descend(known.tau, mixed, known.ridge, iterations)
    return Learnt(tau, recent, mapping_loss(tau, known.anchor), mapping_loss(known.tau, fresh))

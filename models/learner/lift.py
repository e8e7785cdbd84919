"""Another target for the mapping network: the memory itself, lifted to the decoder's feature.

SAM2's memory has M channels, fewer than the feature that the decoder takes. A 1x1 projection with a
bias, fitted in closed form to the annotated frames' memories and memory-attention outputs, lifts
it. T is linear in its targets, so regressing lifted memories is regressing memories and lifting T's
answer. A choice (`LearnerConfig.target`): the paper does not say which "memory feature" it means.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.learner.mapping_network import Statistics, apply_mapper, ridge_solution

RIDGE = 1e-3


def fit_lift(
    memory: Sequence[Tensor], attended: Sequence[Tensor], weight: Sequence[Tensor]
) -> Tensor:
    """Frames of C rows each: (C, M, h, w), (C, D, h, w), (C, 1, h w) -> (1, D, M + 1)"""
    pairs = zip(memory, attended, weight, strict=True)
    total = [_statistics(*one) for one in pairs]
    summed = total[0]
    for one in total[1:]:
        summed = summed.plus(one)
    return ridge_solution(summed.normalized(), RIDGE)


def _statistics(memory: Tensor, attended: Tensor, weight: Tensor) -> Statistics:
    """One row, every class a frame of it."""
    return Statistics.of(
        _with_one(memory).flatten(2)[None], attended.flatten(2)[None], weight.transpose(0, 1)
    )


def lifted(lift: Tensor, memory: Tensor) -> Tensor:
    """(C, M, h, w) -> (C, D, h, w)"""
    return apply_mapper(lift.expand(len(memory), -1, -1), _with_one(memory))


def _with_one(memory: Tensor) -> Tensor:
    return torch.cat([memory, torch.ones_like(memory[:, :1])], dim=1)

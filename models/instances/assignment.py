"""Names for all instances of a frame at once: two of one kind are rarer than two kinds."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.instances.vote_grouping import Float

TOGETHER = 4  # instances that are decided together, the largest ones
COMBINATIONS = 4096  # weighed in a frame at most; with many classes fewer are decided together


@lru_cache(maxsize=TOGETHER)
def _combinations(rows: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every way to name `count` instances, (count, n), and how many in each are not the first."""
    chosen = np.indices((rows,) * count).reshape(count, -1)
    ordered = np.sort(chosen, axis=0)
    return chosen, (ordered[1:] == ordered[:-1]).sum(axis=0)


def joint_shares(evidence: Float, area: npt.NDArray[np.int64], twin_cost: float) -> Float:
    """How likely each instance is each class, given the others in the frame. (K, C), rows sum to 1

    evidence: (K, C) log shares; area: (K,) pixels; twin_cost: of every instance after the first
    that has the same class. All combinations of the largest TOGETHER instances are weighed, or of
    as many as COMBINATIONS allow; the others are judged on their own.
    """
    shares = np.exp(evidence - np.logaddexp.reduce(evidence, axis=1, keepdims=True))
    rows = evidence.shape[1]
    together = next((n for n in range(TOGETHER, 1, -1) if rows**n <= COMBINATIONS), 1)
    first = np.argsort(-area)[:together]
    if len(first) < 2 or twin_cost <= 0:
        return np.asarray(shares, np.float32)
    chosen, twins = _combinations(rows, len(first))
    score = evidence[first[:, None], chosen].sum(axis=0) - twin_cost * twins
    weight = np.exp(score - score.max())
    for place, number in enumerate(first):
        shares[number] = np.bincount(chosen[place], weight, minlength=rows) / weight.sum()
    return np.asarray(shares, np.float32)

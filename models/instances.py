"""Instruments as instances: one frame's pixels grouped by the instrument they belong to.

`part_votes` groups the pixels of a frame by what they vote for. Plain numpy on maps of a quarter of
the network's input size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

MAX_INSTANCES = 8
RADIUS = 0.16  # of a group of votes, see parting.py for their units
MIN_AREA = 12  # pixels; a smaller group joins its neighbour
SAMPLE = 350  # pixels that look for groups; the others join the nearest


@dataclass(frozen=True)
class Parted:
    """K instances of one frame.

    label: (H, W) 0 where there is none, else 1 to K; centre: (K, V) mean vote
    """

    label: Labels
    centre: Float


def part_votes(instrument: npt.NDArray[np.bool_], vote: Float) -> Parted:
    """Group the instrument's pixels. instrument: (H, W); vote: (V, H, W)"""
    label = np.zeros(instrument.shape, np.int64)
    places = np.flatnonzero(instrument)
    if len(places) < MIN_AREA:
        return Parted(label, np.zeros((0, len(vote)), np.float32))
    votes = np.ascontiguousarray(vote.reshape(len(vote), -1)[:, places].T)  # (n, V)
    step = -(-len(votes) // SAMPLE)
    centre = _centres(votes[::step], MIN_AREA / step)
    near = _squares(votes, centre).argmin(axis=1)
    area = np.bincount(near, minlength=len(centre))
    kept = np.flatnonzero(area >= min(MIN_AREA, area.max()))
    if len(kept) < len(centre):
        near = _squares(votes, centre[kept]).argmin(axis=1)
    label.flat[places] = near + 1
    mean = [votes[near == number].mean(axis=0) for number in range(len(kept))]
    return Parted(label, np.asarray(mean, np.float32))


def _centres(votes: Float, least: float) -> Float:
    """Densest votes first; what lies within the radius of one belongs to it. (K, V)"""
    close = (_squares(votes, votes) < RADIUS**2).astype(np.float32)
    free = np.ones(len(votes), bool)
    centres: list[Float] = []
    while len(centres) < MAX_INSTANCES:
        density = (close @ free.astype(np.float32)) * free
        best = int(density.argmax())
        if density[best] < max(least, 1) and centres:
            break
        centre = votes[(close[best] > 0) & free].mean(axis=0)
        for _ in range(2):
            inside = (np.square(votes - centre).sum(axis=1) < RADIUS**2) & free
            centre = votes[inside].mean(axis=0) if inside.any() else centre
        centres.append(centre)
        free &= np.square(votes - centre).sum(axis=1) > (1.4 * RADIUS) ** 2
        free[best] = False
        if not free.any():
            break
    return np.asarray(centres, np.float32)


def distances(one: Float, other: Float) -> Float:
    """Euclidean, of every pair. (n, V), (m, V) -> (n, m)"""
    return np.asarray(np.sqrt(np.maximum(_squares(one, other), 0)), np.float32)


def _squares(one: Float, other: Float) -> Float:
    """Squared distances; a zero may be a little below."""
    both = (one**2).sum(1)[:, None] + (other**2).sum(1)[None]
    return np.asarray(both - 2 * one @ other.T, np.float32)

"""Instruments as instances: one frame's pixels grouped by the instrument they belong to.

`group_votes` groups the pixels of a frame by what they vote for, on maps of a quarter of the
network's input size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.types import UInt8Array

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

MAX_INSTANCES = 8
RADIUS = 0.16  # of a group of votes, see instance_head.py for their units
MIN_AREA = 12  # pixels; a smaller group joins its neighbour
SAMPLE = 350  # pixels that look for groups; the others join the nearest


@dataclass(frozen=True)
class VoteGroups:
    """K instances of one frame.

    label: (H, W) 0 where there is none, else 1 to K; centre: (K, V) mean vote
    """

    label: Labels
    centre: Float


def group_votes(instrument: npt.NDArray[np.bool_], vote: Float) -> VoteGroups:
    """Group the instrument's pixels. instrument: (H, W); vote: (V, H, W)"""
    label = np.zeros(instrument.shape, np.int64)
    places = np.flatnonzero(instrument)
    if len(places) < MIN_AREA:
        return VoteGroups(label, np.zeros((0, len(vote)), np.float32))
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
    return VoteGroups(_strays_joined(label, len(kept)), np.asarray(mean, np.float32))


def _strays_joined(label: Labels, count: int) -> Labels:
    """One or two cells that vote unlike all around them join the instrument they lie beside."""
    if count < 2:
        return label
    layers = np.equal.outer(label, np.arange(1, count + 1)).astype(np.uint8)  # (H, W, K)
    around = _in_window(layers)
    own = np.maximum(label, 1)[..., None] - 1
    same = np.take_along_axis(around, own, axis=2)[..., 0]  # cells of its own, itself among them
    stray = (label > 0) & (same <= 2)
    if not stray.any():
        return label
    of_two = np.take_along_axis(_in_window(layers * (same == 2)[..., None]), own, axis=2)[..., 0]
    stray &= (same == 1) | (of_two == 2)
    np.put_along_axis(around, own, 0, axis=2)
    return np.where(stray & (around.max(axis=2) > 0), around.argmax(axis=2) + 1, label)


def _in_window(layers: UInt8Array) -> UInt8Array:
    """Sums over 3x3 cells. (H, W, K)"""
    summed = cv2.boxFilter(layers, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, np.uint8)


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

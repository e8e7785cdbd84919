"""Instances followed over the frames of a stream, and the evidence for their names.

An instance continues the track whose votes and looks are nearest to its own; a name belongs to a
track, is decided on the average of what its frames said, and is kept for a while once it has been
given: names that hang in the balance would flicker. Bounded: at most MAX_TRACKS, each
forgotten PATIENCE frames after it was last seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.instances.vote_grouping import Float, Labels, distances

MAX_TRACKS = 12
PATIENCE = 12  # frames
FAR = 0.5  # instances farther apart than this are different ones
LOOKS = 0.6  # weight of unlike looks, beside the distance of votes
RENEWAL = 0.3  # share of a track's looks that a frame replaces
DECAY = 0.93  # of the evidence, per frame
WHOLE, LEAST_TRUST = 300, 0.05  # pixels that are evidence enough; weight of next to none
NAMED, KEPT = 0.55, 0.4  # share from which a class becomes a track's name; from which it stays
NOBODY = -1  # in the place of a class: no name


@dataclass(frozen=True)
class Track:
    """centre: (V,) mean vote when last seen, in frame `seen`; looks: (D,) description, unit length

    evidence: (C,) sum of log shares; weight: of the evidence, in whole frames
    name: the class it was last given, NOBODY for none
    """

    centre: Float
    looks: Float
    evidence: Float
    weight: float
    seen: int
    name: int = NOBODY


@dataclass(frozen=True)
class TrackState:
    """What `InstanceTracks` remembers after `frame` frames."""

    tracks: tuple[Track, ...]
    frame: int


@dataclass(frozen=True)
class Instances:
    """K instances of one frame.

    centre: (K, V) mean votes; looks: (K, D) descriptions of unit length
    area: (K,) pixels; what little is seen of an instance counts for little
    """

    centre: Float
    looks: Float
    area: npt.NDArray[np.int64]


class InstanceTracks:
    """The tracks of one stream."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._frame = 0

    def __len__(self) -> int:
        return len(self._tracks)

    def snapshot(self) -> TrackState:
        """The tracks as they stand, to be gone on from later."""
        return TrackState(tuple(self._tracks), self._frame)

    def restore(self, state: TrackState) -> None:
        """Go on from there."""
        self._tracks, self._frame = list(state.tracks), state.frame

    def reset(self) -> None:
        """Forget all of them."""
        self._tracks, self._frame = [], 0

    def step(self, seen: Instances, evidence: Float) -> Float:
        """Follow the next frame's instances.

        evidence: (K, C) log shares of the classes
        returns:  (K, C) the mean evidence of the track that each continues, this frame's included
        """
        self._frame += 1
        found = self._matched(seen)
        old = self._tracks
        fresh, mean = [], np.empty_like(evidence)
        trust = np.minimum(seen.area / WHOLE, 1.0) + LEAST_TRUST
        for number, place in enumerate(seen.centre):
            looks, weight = seen.looks[number], float(trust[number])
            total, name = weight * evidence[number], NOBODY
            if found[number] >= 0:
                track = old[found[number]]
                total, weight = total + DECAY * track.evidence, weight + DECAY * track.weight
                looks = track.looks + RENEWAL * (looks - track.looks)
                looks, name = looks / np.linalg.norm(looks), track.name
            fresh.append(Track(place, looks, total, weight, self._frame, name))
            mean[number] = total / weight
        waiting = [t for n, t in enumerate(old) if n not in found]
        kept = [t for t in waiting if self._frame - t.seen <= PATIENCE]
        newest = sorted(kept, key=lambda track: -track.seen)
        self._tracks = [*fresh, *newest][:MAX_TRACKS]
        return mean

    def name(self, shares: Float) -> Labels:
        """Name the instances of the frame last followed.

        shares: (K, C) how likely each is each class, rows sum to one at most
        returns: (K,) the class of each, NOBODY for none
        """
        names = np.full(len(shares), NOBODY, np.int64)
        for number, own in enumerate(shares):
            held, best = self._tracks[number].name, int(own.argmax())
            if own[best] >= NAMED:
                names[number] = best
            elif held != NOBODY and own[held] >= KEPT:
                names[number] = held
            self._tracks[number] = replace(self._tracks[number], name=int(names[number]))
        return names

    def _matched(self, seen: Instances) -> list[int]:
        """For each instance the track it continues, or -1; the nearest pairs first."""
        found = [-1] * len(seen.centre)
        if not self._tracks or not len(seen.centre):
            return found
        gap = distances(seen.centre, np.stack([track.centre for track in self._tracks]))
        alike = seen.looks @ np.stack([track.looks for track in self._tracks]).T
        gap += LOOKS * (1 - alike)
        while float(gap.min()) < FAR:
            row, column = np.unravel_index(int(gap.argmin()), gap.shape)
            found[int(row)] = int(column)
            gap[row], gap[:, column] = np.inf, np.inf
        return found

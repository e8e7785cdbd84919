"""Training material for pretraining: rendered procedures in a bounded pool, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.phantom import Procedure
from models.types import UInt8Array

VALIDATION_SEED = 500_000
TRAINING_SEED = 1_000_000
SUPPORTS, QUERIES = 3, 4
PER_PROCEDURE = SUPPORTS + 1 + QUERIES  # the supports, the first of the sequence, the queries
WIDE = (192, 341)  # as many pixels as a square of 256, in the proportions of a real camera
INTERVALS_S = (0.04, 0.12, 0.3, 0.6)  # between frames of a sequence: up to 2.4 s in all


@dataclass(frozen=True)
class Frames:
    """Some frames of one procedure.

    image: (n, S, S, 3) uint8 RGB; class_mask, instance_mask: (n, S, S) uint8
    """

    image: UInt8Array
    class_mask: UInt8Array
    instance_mask: UInt8Array


@dataclass(frozen=True)
class RenderedProcedure:
    """Two clips seen at random moments, and one short sequence of consecutive frames."""

    clips: tuple[Frames, Frames]
    sequence: Frames


def render_procedure(seed: int, size: int, rng: np.random.Generator) -> RenderedProcedure:
    """seed: of the procedure; rng: which clips and moments of it."""
    procedure = Procedure(seed)
    first, second, third = (int(i) for i in rng.choice(12, size=3, replace=False))
    clips = (
        _frames(procedure, first, size, rng.uniform(0, 8, size=4)),
        _frames(procedure, second, size, rng.uniform(0, 8, size=4)),
    )
    interval = float(rng.choice(INTERVALS_S))
    times = rng.uniform(0, 6) + interval * np.arange(1 + QUERIES, dtype=np.float64)
    return RenderedProcedure(clips, _frames(procedure, third, size, times))


def _frames(
    procedure: Procedure,
    clip_index: int,
    size: int,
    times: npt.NDArray[np.float64],
) -> Frames:
    """Every other clip is a wide picture resized to the network's square, as real ones are."""
    square = (size, size)
    wide = (round(WIDE[0] * size / 256), round(WIDE[1] * size / 256))
    clip = procedure.clip(clip_index, size=wide if clip_index % 2 else square)
    rendered = [clip.render(float(t)) for t in times]
    return Frames(
        np.stack([_resized(frame.image_rgb, square, cv2.INTER_LINEAR) for frame in rendered]),
        np.stack([_resized(frame.class_mask, square, cv2.INTER_NEAREST) for frame in rendered]),
        np.stack([_resized(frame.instance_mask, square, cv2.INTER_NEAREST) for frame in rendered]),
    )


def _resized(picture: UInt8Array, size: tuple[int, int], how: int) -> UInt8Array:
    if picture.shape[:2] == size:
        return picture
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=how), dtype=np.uint8)


class ProcedurePool:
    """A ring of rendered procedures; each step renders a few new ones and draws from all.

    Bounded: `capacity` procedures of 13 frames, 3.4 MB each at 256 px.
    """

    def __init__(self, capacity: int, size: int, seed: int) -> None:
        self._capacity, self._size = capacity, size
        self._rng = np.random.default_rng(seed)
        self._next_seed = TRAINING_SEED + seed * 100_000
        self._procedures: list[RenderedProcedure] = []

    def refresh(self, count: int) -> None:
        """Render `count` new procedures; the oldest give way."""
        for _ in range(count):
            made = render_procedure(self._next_seed, self._size, self._rng)
            if len(self._procedures) == self._capacity:
                self._procedures.pop(0)
            self._procedures.append(made)
            self._next_seed += 1

    def skip_to(self, rendered: int) -> None:
        """After a resume: do not show the same procedures again."""
        self._next_seed += rendered

    def draw(self, count: int) -> list[RenderedProcedure]:
        """`count` different procedures."""
        chosen = self._rng.choice(len(self._procedures), size=count, replace=False)
        return [self._procedures[int(i)] for i in chosen]

    @property
    def rng(self) -> np.random.Generator:
        """The pool's own source of randomness."""
        return self._rng


@dataclass(frozen=True)
class ClipPairs:
    """Frames for the find stage: frame 2i and 2i+1 are of one procedure, from different clips.

    image: (B, 3, S, S) 0 to 255 float; class_mask: (B, S, S) long; group: (B,) long
    """

    image: Tensor
    class_mask: Tensor
    group: Tensor


def clip_pairs(pool: ProcedurePool, procedures: int) -> ClipPairs:
    """Two augmented frames from each of `procedures` procedures."""
    images, masks, groups = [], [], []
    for number, procedure in enumerate(pool.draw(procedures)):
        sources = [*procedure.clips, procedure.sequence]
        for which in pool.rng.choice(3, size=2, replace=False):
            frames = sources[int(which)]
            index = int(pool.rng.integers(len(frames.image)))
            image, mask = _augment(frames.image[index], frames.class_mask[index], pool.rng)
            images.append(image)
            masks.append(mask)
            groups.append(number)
    return ClipPairs(
        _image_tensor(np.stack(images)),
        torch.from_numpy(np.stack(masks)).long(),
        torch.tensor(groups),
    )


def _augment(
    image: UInt8Array, mask: UInt8Array, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """Flips, and a gain and gamma per channel on top of what the phantom varies."""
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if rng.random() < 0.3:
        image, mask = image[::-1], mask[::-1]
    if rng.random() < 0.5:
        levels = np.arange(256) / 255.0
        gain, gamma = rng.uniform(0.85, 1.15, size=3), rng.uniform(0.8, 1.25)
        table = np.clip(levels[:, None] ** gamma * gain * 255, 0, 255).astype(np.uint8)
        image = table[image, np.arange(3)]
    if rng.random() < 0.2:  # a small picture enlarged
        small = round(len(image) * rng.uniform(0.35, 0.8))
        image = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA))
        image = _resized(image, mask.shape, cv2.INTER_LINEAR)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


@dataclass(frozen=True)
class Episode:
    """Rows of a few-shot task; every row is one thing to segment.

    image: (n, 3, S, S) 0 to 255 float, all frames of all procedures
    support: (R, F) long, indices into image; support_mask: (R, F, S, S) float
    support_valid: (R, F) bool; memory: (R, K) long, places in the row's support for the bank
    query: (R, Q) long; query_mask: (R, Q, S, S) float
    """

    image: Tensor
    support: Tensor
    support_mask: Tensor
    support_valid: Tensor
    memory: Tensor
    query: Tensor
    query_mask: Tensor


@dataclass
class _Rows:
    support: list[list[int]]
    support_mask: list[UInt8Array]
    valid: list[list[bool]]
    memory: list[list[int]]
    query: list[list[int]]
    query_mask: list[UInt8Array]


def episode(pool: ProcedurePool, procedures: int) -> Episode:
    """Per procedure: two of its kinds named from other clips, one instance followed from its first
    frame, and any instrument found with supports from the other procedures.
    """
    rng = pool.rng
    picked = [_pick_frames(p, rng) for p in pool.draw(procedures)]
    rows = _Rows([], [], [], [], [], [])
    for number, frames in enumerate(picked):
        _kind_rows(rows, frames, number * PER_PROCEDURE, rng)
        _track_rows(rows, frames, number * PER_PROCEDURE, rng)
        _any_row(rows, picked, number)
    image = np.concatenate([frames.image for frames in picked])
    return Episode(
        _image_tensor(image),
        torch.tensor(rows.support),
        torch.from_numpy(np.stack(rows.support_mask)).float(),
        torch.tensor(rows.valid),
        torch.tensor(rows.memory),
        torch.tensor(rows.query),
        torch.from_numpy(np.stack(rows.query_mask)).float(),
    )


def _pick_frames(procedure: RenderedProcedure, rng: np.random.Generator) -> Frames:
    """Three support frames of the two clips, then the sequence; flipped together."""
    both = Frames(
        *(
            np.concatenate([getattr(clip, name) for clip in procedure.clips])
            for name in ("image", "class_mask", "instance_mask")
        )
    )
    chosen = rng.choice(len(both.image), size=SUPPORTS, replace=False)
    flip = slice(None, None, -1) if rng.random() < 0.5 else slice(None)
    parts = []
    for name in ("image", "class_mask", "instance_mask"):
        part = np.concatenate([getattr(both, name)[chosen], getattr(procedure.sequence, name)])
        parts.append(np.ascontiguousarray(part[:, :, flip]))
    return Frames(*parts)


def _kind_rows(rows: _Rows, frames: Frames, start: int, rng: np.random.Generator) -> None:
    seen = [int(k) for k in np.unique(frames.class_mask[:SUPPORTS]) if k]
    if not seen:
        return
    for kind in rng.choice(seen, size=1):
        mask = (frames.class_mask == kind).astype(np.uint8)
        area = mask[:SUPPORTS].sum(axis=(1, 2))
        order = [int(i) for i in np.argsort(-area)]
        second = order[1] if area[order[1]] else order[0]
        rows.support.append([start + i for i in range(SUPPORTS)])
        rows.support_mask.append(mask[:SUPPORTS])
        rows.valid.append([True] * SUPPORTS)
        rows.memory.append([order[0], second])
        rows.query.append([start + SUPPORTS + 1 + i for i in range(QUERIES)])
        rows.query_mask.append(mask[SUPPORTS + 1 :])


def _track_rows(rows: _Rows, frames: Frames, start: int, rng: np.random.Generator) -> None:
    instances = [int(i) for i in np.unique(frames.instance_mask[SUPPORTS]) if i]
    for instance in rng.permutation(instances)[:2]:
        mask = (frames.instance_mask == instance).astype(np.uint8)
        rows.support.append([start + SUPPORTS] * SUPPORTS)
        rows.support_mask.append(np.repeat(mask[SUPPORTS][None], SUPPORTS, axis=0))
        rows.valid.append([True] + [False] * (SUPPORTS - 1))
        rows.memory.append([0, 0])
        rows.query.append([start + SUPPORTS + 1 + i for i in range(QUERIES)])
        rows.query_mask.append(mask[SUPPORTS + 1 :])


def _any_row(rows: _Rows, picked: list[Frames], number: int) -> None:
    others = [(number + 1 + i) % len(picked) for i in range(SUPPORTS)]
    masks = [(picked[o].class_mask[i] > 0).astype(np.uint8) for i, o in enumerate(others)]
    shown = [i for i, mask in enumerate(masks) if mask.any()]
    if not shown:
        return
    start = number * PER_PROCEDURE
    rows.support.append([o * PER_PROCEDURE + i for i, o in enumerate(others)])
    rows.support_mask.append(np.stack(masks))
    rows.valid.append([True] * SUPPORTS)
    rows.memory.append([shown[0], shown[-1]])
    rows.query.append([start + SUPPORTS + 1 + i for i in range(QUERIES)])
    rows.query_mask.append((picked[number].class_mask[SUPPORTS + 1 :] > 0).astype(np.uint8))


def _image_tensor(image: UInt8Array) -> Tensor:
    return torch.from_numpy(image).permute(0, 3, 1, 2).float()

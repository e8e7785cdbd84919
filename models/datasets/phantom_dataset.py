"""Phantom procedures of one hospital as a data set, rendered when asked for.

The classes are those of whatever layout it shall be written in: `Roles` says which class each thing
of the phantom plays. Nothing is kept but the last picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.phantom import Clip, PhantomFrame, Procedure, random_tray
from models.types import ClassSpec, UInt8Array

JAWS_FROM = 0.72  # share of an instrument's length beyond which it counts as jaws, not shaft


@dataclass(frozen=True)
class Roles:
    """Which class each thing of the phantom plays.

    shafts, jaws: class id by phantom kind; equal where instruments are not parted
    tissue: class ids of regions of tissue
    """

    shafts: Mapping[int, int]
    jaws: Mapping[int, int]
    tissue: tuple[int, ...] = ()


@dataclass(frozen=True)
class PhantomSetConfig:
    """sequences of several procedures that share one hospital's instruments (the seed).

    frames: of a sequence, `fps` a second; size: (height, width)
    seed: below 100, its procedures are none that NANO was trained, chosen or fitted on
    tissue: colour regions of tissue and annotate them; off, only instruments are annotated
    """

    sequences: int = 4
    frames: int = 6
    procedures: int = 2
    fps: float = 1.0
    size: tuple[int, int] = (270, 480)
    seed: int = 0
    tissue: bool = True


def phantom_dataset(
    config: PhantomSetConfig, classes: tuple[ClassSpec, ...], roles: Roles
) -> Dataset:
    """Procedure after procedure: sequence n is of number n * procedures // sequences."""
    roles = roles if config.tissue else Roles(roles.shafts, roles.jaws)
    return Dataset(
        "phantom",
        Path(),
        classes,
        tuple(_sequence(config, roles, number) for number in range(config.sequences)),
    )


def _sequence(config: PhantomSetConfig, roles: Roles, number: int) -> AnnotatedSequence:
    procedure = number * config.procedures // config.sequences
    kinds = tuple(sorted(roles.shafts))
    shown = _Shown(config.seed, procedure, number, config.size, kinds)
    frames = tuple(
        AnnotatedFrame(
            f"{index:06d}",
            partial(_image, shown, roles, index / config.fps),
            partial(_mask, shown, roles, index / config.fps),
        )
        for index in range(config.frames)
    )
    return AnnotatedSequence(f"{number + 1:03d}", frames, group=f"procedure_{procedure:02d}")


@dataclass(frozen=True)
class _Shown:
    """One clip of one procedure of one hospital, filmed at a size."""

    hospital: int
    procedure: int
    clip: int
    size: tuple[int, int]
    kinds: tuple[int, ...]


@lru_cache(maxsize=1)
def _procedure(hospital: int, number: int, kinds: tuple[int, ...]) -> Procedure:
    """Its patient is its own; its instruments are two to four of the hospital's."""
    seed = 1000 * hospital + number
    tray = random_tray(1000 * hospital, kinds)
    rng = np.random.default_rng([seed, 6])
    count = min(len(kinds), int(rng.integers(2, 5)))
    used = sorted(int(kind) for kind in rng.choice(kinds, size=count, replace=False))
    return Procedure(seed, {kind: tray[kind] for kind in used})


@lru_cache(maxsize=1)
def _clip(shown: _Shown) -> Clip:
    procedure = _procedure(shown.hospital, shown.procedure, shown.kinds)
    return procedure.clip(shown.clip, size=shown.size)


@lru_cache(maxsize=1)
def _frame(shown: _Shown, seconds: float) -> PhantomFrame:
    return _clip(shown).render(seconds)


def _image(shown: _Shown, roles: Roles, seconds: float) -> UInt8Array:
    """(H, W, 3); regions of tissue are tinted, each in a colour of its own."""
    frame = _frame(shown, seconds)
    image = frame.image_rgb.copy()
    for number, region in enumerate(_regions(shown, roles)):
        seen = region & (frame.instance_mask == 0)
        turn = 2.4 * number
        tint = 128 + 100 * np.cos([turn, turn + 2.1, turn + 4.2])
        image[seen] = (0.6 * image[seen] + 0.4 * tint).astype(np.uint8)
    return image


def _mask(shown: _Shown, roles: Roles, seconds: float) -> UInt8Array:
    """(H, W) class ids, instruments above tissue."""
    frame = _frame(shown, seconds)
    mask = np.zeros(frame.class_mask.shape, np.uint8)
    for class_id, region in zip(roles.tissue, _regions(shown, roles), strict=True):
        mask[region] = class_id
    for instance in np.unique(frame.instance_mask[frame.instance_mask > 0]):
        owned = frame.instance_mask == instance
        kind = int(frame.class_mask[owned][0])
        mask[owned] = roles.shafts[kind]
        mask[_jaws(owned)] = roles.jaws[kind]
    return mask


def _regions(shown: _Shown, roles: Roles) -> list[npt.NDArray[np.bool_]]:
    """An ellipse for each class of tissue, the same in all frames of a clip."""
    height, width = shown.size
    rng = np.random.default_rng([shown.hospital, shown.procedure, shown.clip, 7])
    regions = []
    for _ in roles.tissue:
        centre = (int(rng.uniform(0.15, 0.85) * width), int(rng.uniform(0.15, 0.85) * height))
        axes = (int(rng.uniform(0.08, 0.2) * width) + 1, int(rng.uniform(0.08, 0.2) * height) + 1)
        drawn = np.zeros((height, width), np.uint8)
        cv2.ellipse(drawn, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        regions.append(drawn > 0)
    return regions


def _jaws(owned: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The far end of an instrument, seen from where it enters the picture.

    The phantom does not part its instruments: this is a stand-in for layouts that do.
    """
    rows, columns = np.nonzero(owned)
    last = np.array(owned.shape) - 1
    enters = (rows == 0) | (columns == 0) | (rows == last[0]) | (columns == last[1])
    if not enters.any():
        return owned
    distance = np.hypot(rows - rows[enters].mean(), columns - columns[enters].mean())
    far = distance > JAWS_FROM * distance.max()
    jaws = np.zeros_like(owned)
    jaws[rows[far], columns[far]] = True
    return jaws

"""CholecSeg8k: laparoscopic cholecystectomy, 101 clips of 80 frames at 25 fps from 17 videos.

    ROOT/video01/video01_00080/frame_80_endo.png
                               frame_80_endo_watershed_mask.png   labels: grey values, see VALUES
                               frame_80_endo_mask.png, frame_80_endo_color_mask.png   not read

Value 50 is what the scope does not see (background); 255 is the line between regions and 0 what
nobody labelled, both ignored, and so are stray values, which the data set is known to have.
No split is published. A video is a group; `fold` deals the videos, in order, into five folds: our
choice, named here because others cut frames at random and test on the videos they trained on.

Verified in public code that reads the data set (names, values, lines of 255, unlabelled 0, stray 35
and 36); not against the data itself. Licence CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.datasets.choices import one_of
from models.datasets.image_files import (
    list_folders,
    natural,
    read_image,
    read_label_image,
    visible,
)
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import IGNORE_ID, ClassSpec, UInt8Array

IMAGE, MASK = "_endo.png", "_endo_watershed_mask.png"
OUT_OF_VIEW = 50
FOLDS = 5
VALUES = {  # grey value -> class id
    11: 1, 21: 2, 13: 3, 12: 4, 31: 5, 23: 6, 24: 7, 25: 8, 32: 9, 22: 10, 33: 11, 5: 12,
}  # fmt: skip
CLASSES: tuple[ClassSpec, ...] = (
    ClassSpec(1, "abdominal_wall", "#d28c8c"),
    ClassSpec(2, "liver", "#b0483c"),
    ClassSpec(3, "gastrointestinal_tract", "#e7469c"),
    ClassSpec(4, "fat", "#bab74b"),
    ClassSpec(5, "grasper", "#3fb950"),
    ClassSpec(6, "connective_tissue", "#ff5500"),
    ClassSpec(7, "blood", "#ff0000"),
    ClassSpec(8, "cystic_duct", "#ffff00"),
    ClassSpec(9, "hook", "#58a6ff"),
    ClassSpec(10, "gallbladder", "#70c080"),
    ClassSpec(11, "hepatic_vein", "#003280"),
    ClassSpec(12, "liver_ligament", "#6f4a00"),
)
INSTRUMENTS = (5, 9)
ROLES = Roles(shafts={1: 5, 3: 9}, jaws={1: 5, 3: 9}, tissue=(1, 2, 3, 4, 6, 7, 8, 10, 11, 12))


def open_cholecseg8k(root: Path, *, classes: str = "all", fold: int | None = None) -> Dataset:
    """Open CholecSeg8k.

    classes: "all" twelve, or "instruments" alone (grasper and hook; tissue is background)
    fold: 0 to 4, that fold of the videos is the test and the others are for training
    Raises DatasetError: no root, no video folders, a clip without frames, a mask of no frame; on
      reading, a mask of another size, in colour, or without a single known value.
    """
    one_of("classes", classes, ("all", "instruments"))
    one_of("fold", fold, (None, *range(FOLDS)))
    videos = list_folders(root, r"video\d+", "video01")
    keep = tuple(s for s in CLASSES if classes == "all" or s.class_id in INSTRUMENTS)
    table = _table(keep)
    sequences = tuple(
        _open_clip(clip, root, table, _split(number, fold))
        for number, video in enumerate(videos)
        for clip in list_folders(video, rf"{video.name}_\d+", f"{video.name}_00080")
    )
    return Dataset("cholecseg8k", root, keep, sequences)


def write_cholecseg8k(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences whose ids are those of `CLASSES`, a video a group; yields frames written."""
    back = np.full(256, 255, np.uint8)
    back[0] = OUT_OF_VIEW
    for value, class_id in VALUES.items():
        back[class_id] = value
    groups = list(dict.fromkeys(sequence.group for sequence in dataset.sequences))
    written = 0
    for number, sequence in enumerate(dataset.sequences):
        video = f"video{groups.index(sequence.group) + 1:02d}"
        clip = out / video / f"{video}_{80 * (number + 1):05d}"
        clip.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(sequence.frames, start=80 * (number + 1)):
            cv2.imwrite(str(clip / f"frame_{index}{IMAGE}"), frame.read_image()[..., ::-1])
            if frame.read_mask is not None:
                values = np.repeat(back[frame.read_mask()][..., None], 3, axis=2)
                cv2.imwrite(str(clip / f"frame_{index}{MASK}"), values)
            written += 1
            yield written


def _open_clip(clip: Path, root: Path, table: UInt8Array, split: str | None) -> AnnotatedSequence:
    where = clip.relative_to(root)
    names = {path.name for path in visible(clip)}
    stems = sorted((name.removesuffix(IMAGE) for name in names if name.endswith(IMAGE)), key=_order)
    if not stems:
        raise DatasetError(f"{where}: expected frames such as frame_80{IMAGE}, found none")
    masks = {name.removesuffix(MASK) for name in names if name.endswith(MASK)}
    stray = sorted(masks - set(stems))
    if stray:
        raise DatasetError(f"{where}/{stray[0]}{MASK}: expected a frame {stray[0]}{IMAGE}")
    frames = tuple(
        AnnotatedFrame(
            stem,
            partial(read_image, clip / f"{stem}{IMAGE}"),
            partial(_read_mask, clip / f"{stem}{MASK}", table, root) if stem in masks else None,
        )
        for stem in stems
    )
    return AnnotatedSequence(clip.name, frames, group=clip.parent.name, split=split)


def _order(stem: str) -> list[tuple[int, int, str]]:
    return natural(Path(stem))


def _read_mask(path: Path, table: UInt8Array, root: Path) -> UInt8Array:
    where = str(path.relative_to(root))
    values = read_label_image(path, where, path.with_name(re.sub(MASK, IMAGE, path.name)))
    known = np.array([OUT_OF_VIEW, *VALUES], np.uint8)
    if not np.isin(values, known).any():
        listed = ", ".join(str(value) for value in sorted(known.tolist()))
        raise DatasetError(f"{where}: expected grey values of {listed}, found none of them")
    return table[values]


def _table(keep: tuple[ClassSpec, ...]) -> UInt8Array:
    """(256,) class id of each grey value; what is known but not kept is background."""
    table = np.full(256, IGNORE_ID, np.uint8)
    table[OUT_OF_VIEW] = 0
    kept = {spec.class_id for spec in keep}
    for value, class_id in VALUES.items():
        table[value] = class_id if class_id in kept else 0
    return table


def _split(video: int, fold: int | None) -> str | None:
    if fold is None:
        return None
    return "test" if video % FOLDS == fold else "train"

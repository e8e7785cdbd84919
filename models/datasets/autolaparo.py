"""AutoLaparo Task 3: laparoscopic hysterectomy, 300 clips of six frames, one a second.

    ROOT/imgs/CCCFFF.jpg     clip CCC = 001 to 300, frame FFF of 001, 025, 050, 075, 100, 125
    ROOT/masks/CCCFFF.png    value 20 * part, in one channel or three equal ones

    value  20/40              60/80       100/120                        140/160        180     0
    what   grasping forceps   LigaSure    dissecting-grasping forceps    electric hook  uterus  none

The first value of a pair is the manipulator, the second the shaft. Official split: clips 1 to 170
train, 171 to 227 validation, 228 to 300 test (1020, 342 and 438 frames).

Verified in public code that reads the data set (MoriLabNU/Bayesian_WSS: split by frame counts,
file names); values and sizes as in a public description of it; not against the data itself, which
is lent on request only. Which tool has which number follows the project's table 3.
Which of the 21 procedures a clip was cut from is not published: every clip is a group of its own,
and a drawn share of clips, like the paper's 5 %, may show one patient on both sides. If you know
it, put ROOT/procedures.csv there, lines `CCC,procedure`: the groups are then the procedures.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.datasets.choices import one_of
from models.datasets.image_files import (
    read_image,
    read_label_image,
    require_folder,
    require_known,
    stems,
)
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array

TOOLS = ("grasping_forceps", "ligasure", "dissecting_grasping_forceps", "electric_hook")
STEP = 20  # mask value of part n is n times this
UTERUS = 9
FRAMES = (1, 25, 50, 75, 100, 125)
LAST_OF_SPLIT = ((170, "train"), (227, "validation"), (300, "test"))
TOOL_COLORS = ("#3fb950", "#58a6ff", "#f2cc60", "#db61a2")
PART_COLORS = (
    "#3fb950",
    "#1f7a33",
    "#58a6ff",
    "#2f5f99",
    "#f2cc60",
    "#9a7d22",
    "#db61a2",
    "#8a2f62",
)

# Grasper, sealer, needle driver and hook of the phantom; its jaws are the manipulator.
ROLES = Roles(shafts={1: 2, 7: 4, 6: 6, 3: 8}, jaws={1: 1, 7: 3, 6: 5, 3: 7}, tissue=(UTERUS,))
PARTS: tuple[ClassSpec, ...] = (
    *(
        ClassSpec(2 * tool + 1 + part, f"{name}_{what}", PART_COLORS[2 * tool + part])
        for tool, name in enumerate(TOOLS)
        for part, what in enumerate(("manipulator", "shaft"))
    ),
    ClassSpec(UTERUS, "uterus", "#ff8a4c"),
)


def open_autolaparo(root: Path, *, parts: str = "merged", uterus: bool = False) -> Dataset:
    """Open AutoLaparo Task 3.

    parts: "merged" gives four instruments (ids 1 to 4, the paper's classes), "kept" eight parts
      (ids 1 to 8); uterus: keep it, as id 5 or 9; else it is background
    Raises DatasetError: a folder or every image missing, a name that is not CCCFFF, a mask of no
      image; on reading, a mask of another size or with values that are no class.
    """
    one_of("parts", parts, ("merged", "kept"))
    one_of("uterus", uterus, (False, True))
    images = stems(require_folder(root, "imgs"), (".jpg",), root)
    masks = stems(require_folder(root, "masks"), (".png",), root)
    stray = sorted(masks.keys() - images.keys())
    if stray:
        raise DatasetError(
            f"masks/{stray[0]}.png: expected an image imgs/{stray[0]}.jpg, none found"
        )
    merged = parts == "merged"
    table = _table(merged=merged, uterus=uterus)
    procedures = _procedures(root / "procedures.csv")
    clips: dict[str, list[AnnotatedFrame]] = {}
    for stem, image in images.items():
        if not re.fullmatch(r"\d{6}", stem):
            raise DatasetError(
                f"imgs/{image.name}: expected a name CCCFFF.jpg, clip and frame number"
            )
        read = partial(_read_mask, masks[stem], image, table) if stem in masks else None
        frame = AnnotatedFrame(stem[3:], partial(read_image, image), read)
        clips.setdefault(stem[:3], []).append(frame)
    sequences = tuple(
        AnnotatedSequence(clip, tuple(frames), procedures.get(clip, clip), _split(int(clip)))
        for clip, frames in clips.items()
    )
    return Dataset("autolaparo", root, _classes(merged=merged, uterus=uterus), sequences)


def write_autolaparo(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences, at most six frames each, whose ids are those of `PARTS`; yields frames."""
    for folder in ("imgs", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    written = 0
    for number, sequence in enumerate(dataset.sequences, start=1):
        for frame, label in zip(sequence.frames, FRAMES, strict=False):
            name = f"{number:03d}{label:03d}"
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
            cv2.imwrite(str(out / f"imgs/{name}.jpg"), frame.read_image()[..., ::-1], quality)
            if frame.read_mask is not None:
                values = np.repeat((frame.read_mask() * STEP)[..., None], 3, axis=2)
                cv2.imwrite(str(out / f"masks/{name}.png"), values)
            written += 1
            yield written
    with (out / "procedures.csv").open("w", newline="") as file:
        rows = enumerate(dataset.sequences, start=1)
        csv.writer(file).writerows((f"{number:03d}", sequence.group) for number, sequence in rows)


def _classes(*, merged: bool, uterus: bool) -> tuple[ClassSpec, ...]:
    if not merged:
        return PARTS if uterus else PARTS[:-1]
    pairs = enumerate(zip(TOOLS, TOOL_COLORS, strict=True), start=1)
    tools = tuple(ClassSpec(number, name, color) for number, (name, color) in pairs)
    return (*tools, ClassSpec(5, "uterus", "#ff8a4c")) if uterus else tools


def _table(*, merged: bool, uterus: bool) -> UInt8Array:
    """(10,) class id of each part."""
    table = np.arange(10, dtype=np.uint8)
    if merged:
        table = (table + 1) // 2
    if not uterus:
        table[UTERUS] = 0
    return table


def _read_mask(path: Path, image: Path, table: UInt8Array) -> UInt8Array:
    where = f"masks/{path.name}"
    values = read_label_image(path, where, image)
    require_known(values, range(0, STEP * len(table), STEP), where, "a multiple of 20 up to 180")
    return table[values // STEP]


def _split(clip: int) -> str | None:
    return next((name for last, name in LAST_OF_SPLIT if clip <= last), None)


def _procedures(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise DatasetError(f"{path.name}: expected lines CCC,procedure, got {','.join(wrong)!r}")
    return {clip.strip().zfill(3): procedure.strip() for clip, procedure in rows}

"""Endoscapes-Seg50: laparoscopic cholecystectomy, 493 annotated frames of 50 videos.

    ROOT/train_seg/4_21725.jpg             video 4, frame 21725; also val_seg, test_seg
    ROOT/train_seg/annotation_coco.json    images, boxes and instances in COCO's format
    ROOT/semseg/4_21725.png                three equal channels, value = class, see CLASSES
    ROOT/seg_label_map.txt                 the classes' names in order, background first

The masks are those of semseg; a folder without it is read from the COCO files instead. Value 255 is
ignored. Split as published: 30, 10 and 10 videos. A video is a sequence and a group.

Verified in the data set's own README and in public code that reads it (names, order and values of
classes); not against the data itself. Whether COCO categories count from 0 or 1 differs between
descriptions: they are told by name. Licence CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.datasets.coco_file import CocoFile, images_of_file, read_file, read_regions
from models.datasets.image_files import natural, read_image, read_label_image, require_known
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import IGNORE_ID, ClassSpec, UInt8Array

SPLITS = {"train_seg": "train", "val_seg": "validation", "test_seg": "test"}
ANNOTATIONS = "annotation_coco.json"
CLASSES: tuple[ClassSpec, ...] = (
    ClassSpec(1, "cystic_plate", "#bab74b"),
    ClassSpec(2, "calot_triangle", "#39c5cf"),
    ClassSpec(3, "cystic_artery", "#ff5500"),
    ClassSpec(4, "cystic_duct", "#ffff00"),
    ClassSpec(5, "gallbladder", "#70c080"),
    ClassSpec(6, "tool", "#58a6ff"),
)
ROLES = Roles(shafts={1: 6, 2: 6, 3: 6}, jaws={1: 6, 2: 6, 3: 6}, tissue=(1, 2, 3, 4, 5))


def open_endoscapes(root: Path) -> Dataset:
    """Open Endoscapes-Seg50.

    Raises DatasetError: no root or none of the three folders, a folder without annotation file or
      with another one, an image missing or not called VIDEO_FRAME.jpg, a label map of other
      classes, a video in two splits; on reading, a mask of another size or with another value.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    _check_label_map(root / "seg_label_map.txt")
    folders = [folder for folder in SPLITS if (root / folder).is_dir()]
    if not folders:
        raise DatasetError(f"{root}: expected folders {', '.join(SPLITS)}, found none")
    sequences: dict[str, AnnotatedSequence] = {}
    for folder in folders:
        for sequence in _open_split(root, folder):
            if sequence.name in sequences:
                raise DatasetError(f"{folder}: video {sequence.name} is in two splits")
            sequences[sequence.name] = sequence
    return Dataset("endoscapes", root, CLASSES, tuple(sequences.values()))


def write_endoscapes(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences whose ids are those of CLASSES, a video each, in turn in the three splits."""
    (out / "semseg").mkdir(parents=True, exist_ok=True)
    names = ["background", *(spec.name for spec in CLASSES)]
    (out / "seg_label_map.txt").write_text("".join(f"{name}\n" for name in names))
    images: dict[str, list[dict[str, object]]] = {folder: [] for folder in SPLITS}
    written = 0
    for video, sequence in enumerate(dataset.sequences, start=1):
        folder = list(SPLITS)[(video - 1) % len(SPLITS)]
        (out / folder).mkdir(exist_ok=True)
        for number, frame in enumerate(sequence.frames):
            name, image = f"{video}_{25 * number}", frame.read_image()
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
            cv2.imwrite(str(out / folder / f"{name}.jpg"), image[..., ::-1], quality)
            if frame.read_mask is not None:
                values = np.repeat(frame.read_mask()[..., None], 3, axis=2)
                cv2.imwrite(str(out / f"semseg/{name}.png"), values)
            written += 1
            size = {"height": image.shape[0], "width": image.shape[1]}
            images[folder].append({"id": written, "file_name": f"{name}.jpg", **size})
            yield written
    categories = [{"id": spec.class_id, "name": spec.name} for spec in CLASSES]
    for folder, listed in images.items():
        if listed:
            content = {"images": listed, "categories": categories, "annotations": []}
            (out / folder / ANNOTATIONS).write_text(json.dumps(content))


def _check_label_map(path: Path) -> None:
    """The map is optional; where it is, it must be the one the values are read by."""
    if not path.is_file():
        return
    names = [
        line.strip().lower()
        for line in path.read_text(encoding="utf-8-sig").splitlines()
        if line.strip()
    ]
    expected = ["background", *(spec.name for spec in CLASSES)]
    if names != expected:
        raise DatasetError(f"{path.name}: expected {', '.join(expected)}, got {', '.join(names)}")


def _open_split(root: Path, folder: str) -> list[AnnotatedSequence]:
    path = root / folder / ANNOTATIONS
    if not path.is_file():
        raise DatasetError(f"{folder}: expected {ANNOTATIONS}, found none")
    file = read_file(path, root)
    named = images_of_file(file, root, folder)
    videos: dict[str, list[AnnotatedFrame]] = {}
    for image in sorted(file.images, key=lambda one: natural(Path(one.file_name))):
        found = named.find(image.file_name)
        video, _, number = found.stem.partition("_")
        if not (video.isdecimal() and number.isdecimal()):
            raise DatasetError(f"{folder}/{found.name}: expected a name VIDEO_FRAME.jpg")
        mask = root / "semseg" / f"{found.stem}.png"
        read = partial(_read_mask, mask, found) if mask.is_file() else None
        if read is None and image.regions and not (root / "semseg").is_dir():
            regions = partial(read_regions, image, found, file.name)
            read = partial(_by_name, regions, _ids(file))
        frame = AnnotatedFrame(found.stem, partial(read_image, found), read)
        videos.setdefault(video, []).append(frame)
    split = SPLITS[folder]
    return [AnnotatedSequence(one, tuple(f), group=one, split=split) for one, f in videos.items()]


def _read_mask(path: Path, image: Path) -> UInt8Array:
    where = f"semseg/{path.name}"
    mask = read_label_image(path, where, image)
    require_known(mask, [*range(len(CLASSES) + 1), IGNORE_ID], where, "values from 0 to 6, or 255")
    return mask


def _ids(file: CocoFile) -> UInt8Array:
    """(256,) our class id of each of the file's; Raises DatasetError for a name we do not know."""
    known = {spec.name: spec.class_id for spec in CLASSES}
    table = np.zeros(256, np.uint8)
    for spec in file.classes:
        if spec.name not in known:
            raise DatasetError(
                f"{file.name}: expected categories {', '.join(known)}, got {spec.name}"
            )
        table[spec.class_id] = known[spec.name]
    return table


def _by_name(read: partial[UInt8Array], table: UInt8Array) -> UInt8Array:
    return table[read()]

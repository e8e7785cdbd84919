"""The folder data set: classes.json, and clips of images with masks of class ids.

    DATA/classes.json                {"classes": [{"id": 1, "name": "grasper", "color": "#3fb950"}]}
    DATA/<clip>/images/*.png|jpg
    DATA/<clip>/masks/<same stem>.png  uint8, value = class id, 0 background, 255 ignore

A frame without a mask is not annotated. Opening reads names only; pixels are read one by one.
Who the patients are is not written down: every clip is a group of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.datasets.image_files import images_of, masks_of, read_image, read_label_image, visible
from models.datasets.json_file import read_json, whole
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec, UInt8Array

DEFAULT_COLORS = ("#3fb950", "#58a6ff", "#f2cc60", "#db61a2", "#39c5cf", "#ff8a4c", "#bc8cff")


def open_folder(root: Path) -> Dataset:
    """Open a folder data set.

    Raises DatasetError: no folder, no or malformed classes.json, no clip with images, a mask that
    belongs to no image.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    classes = read_classes(root / "classes.json")
    found = [path for path in visible(root) if (path / "images").is_dir()]
    if not found:
        raise DatasetError(f"{root}: expected clips with an images folder, found none")
    return Dataset("folder", root, classes, tuple(_open_clip(path, classes) for path in found))


def read_classes(path: Path) -> tuple[ClassSpec, ...]:
    """Classes of a data set. Raises DatasetError with what was expected and what came."""
    if not path.is_file():
        raise DatasetError(f"expected {path.name} in {path.parent}, found no file")
    content = read_json(path, path.name)
    listed = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(listed, list) or not listed:
        raise DatasetError(f'{path.name}: expected {{"classes": [...]}} with at least one class')
    classes = tuple(_class_spec(entry, number, path.name) for number, entry in enumerate(listed))
    for what, values in (
        ("id", [str(spec.class_id) for spec in classes]),
        ("name", [spec.name for spec in classes]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise DatasetError(f"{path.name}: class {what} {twice[0]} is used twice")
    return classes


def _class_spec(entry: Any, number: int, file: str) -> ClassSpec:
    where = f"{file}: class number {number + 1}"
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: expected an object with id and name, got {entry!r}")
    class_id, name = entry.get("id"), entry.get("name")
    try:
        class_id = whole(None if isinstance(class_id, str) else class_id)
    except ValueError as error:
        raise DatasetError(f"{where}: expected an integer id, got {str(class_id)[:40]}") from error
    if not BACKGROUND_ID < class_id < IGNORE_ID:
        raise DatasetError(f"{where}: expected an id from 1 to 254, got {class_id}")
    if not isinstance(name, str) or not name.strip():
        raise DatasetError(f"{where}: expected a name, got {name!r}")
    color = entry.get("color", DEFAULT_COLORS[number % len(DEFAULT_COLORS)])
    if not isinstance(color, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise DatasetError(f"{where}: expected a color like #3fb950, got {color!r}")
    return ClassSpec(class_id, name.strip(), color.lower())


def _open_clip(path: Path, classes: tuple[ClassSpec, ...]) -> AnnotatedSequence:
    images = images_of(path / "images", f"{path.name}/images")
    if not images:
        raise DatasetError(f"{path.name}/images: expected .png or .jpg files, found none")
    masks = masks_of(path / "masks", images, f"{path.name}/masks")
    frames = tuple(_frame(image, masks.get(image.stem), classes) for image in images)
    return AnnotatedSequence(path.name, frames, group=path.name)


def _frame(image: Path, mask: Path | None, classes: tuple[ClassSpec, ...]) -> AnnotatedFrame:
    read = None if mask is None else partial(read_mask, mask, classes, image)
    return AnnotatedFrame(image.stem, partial(read_image, image), read)


def read_mask(path: Path, classes: tuple[ClassSpec, ...], image: Path) -> UInt8Array:
    """(H, W) uint8 class ids of the mask at path.

    Raises DatasetError: not a label image of its image's size, or ids that classes.json does not
    declare.
    """
    where = f"{path.parent.parent.name}/masks/{path.name}"
    mask = read_label_image(path, where, image)
    known = {spec.class_id for spec in classes} | {BACKGROUND_ID, IGNORE_ID}
    unknown = sorted({int(value) for value in np.unique(mask)} - known)
    if unknown:
        raise DatasetError(f"{where}: id {unknown[0]} is not declared in classes.json")
    return mask


def write_classes(root: Path, classes: tuple[ClassSpec, ...]) -> None:
    """Write DATA/classes.json."""
    listed = [{"id": s.class_id, "name": s.name, "color": s.color} for s in classes]
    (root / "classes.json").write_text(json.dumps({"classes": listed}, indent=2) + "\n")


def write_frame(clip: Path, stem: str, image_rgb: UInt8Array, class_mask: UInt8Array) -> None:
    """Write one annotated frame of a clip; the folders must exist."""
    cv2.imwrite(str(clip / "images" / f"{stem}.png"), image_rgb[..., ::-1])
    cv2.imwrite(str(clip / "masks" / f"{stem}.png"), class_mask)


def write_folder(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write any data set as a folder data set; yields the number of frames written so far."""
    out.mkdir(parents=True, exist_ok=True)
    write_classes(out, dataset.classes)
    written = 0
    for sequence in dataset.sequences:
        clip = out / sequence.name
        for part in ("images", "masks"):
            (clip / part).mkdir(parents=True, exist_ok=True)
        for frame in sequence.frames:
            cv2.imwrite(str(clip / f"images/{frame.name}.png"), frame.read_image()[..., ::-1])
            if frame.read_mask is not None:
                cv2.imwrite(str(clip / f"masks/{frame.name}.png"), frame.read_mask())
            written += 1
            yield written

"""The folder data set: classes.json, and clips of images with masks of class ids.

    DATA/classes.json                {"classes": [{"id": 1, "name": "grasper", "color": "#3fb950"}]}
    DATA/<clip>/images/*.png|jpg
    DATA/<clip>/masks/<same stem>.png  uint8, value = class id, 0 background, 255 ignore

A frame without a mask is not annotated. Opening reads names only; pixels are read one by one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.errors import DatasetError
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec, UInt8Array

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
DEFAULT_COLORS = ("#3fb950", "#58a6ff", "#f2cc60", "#db61a2", "#39c5cf", "#ff8a4c", "#bc8cff")


@dataclass(frozen=True)
class AnnotatedPath:
    """One frame on disk; mask is None where nobody annotated it."""

    image: Path
    mask: Path | None


@dataclass(frozen=True)
class ClipFolder:
    """One clip, its frames in natural order."""

    name: str
    frames: tuple[AnnotatedPath, ...]


@dataclass(frozen=True)
class FolderDataset:
    """Classes and clips of one folder."""

    root: Path
    classes: tuple[ClassSpec, ...]
    clips: tuple[ClipFolder, ...]

    def annotated(self) -> list[AnnotatedPath]:
        """All frames that have a mask, clip by clip."""
        return [frame for clip in self.clips for frame in clip.frames if frame.mask is not None]


def open_folder(root: Path) -> FolderDataset:
    """Open a folder data set.

    Raises DatasetError: no folder, no or malformed classes.json, no clip with images, a mask that
    belongs to no image.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    classes = read_classes(root / "classes.json")
    found = [path for path in sorted(root.iterdir(), key=natural) if (path / "images").is_dir()]
    if not found:
        raise DatasetError(f"{root}: expected clips with an images folder, found none")
    return FolderDataset(root, classes, tuple(_open_clip(path) for path in found))


def read_classes(path: Path) -> tuple[ClassSpec, ...]:
    """Classes of a data set. Raises DatasetError with what was expected and what came."""
    if not path.is_file():
        raise DatasetError(f"expected {path.name} in {path.parent}, found no file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name}: not valid JSON ({error})") from error
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
    if isinstance(class_id, bool) or not isinstance(class_id, int):
        raise DatasetError(f"{where}: expected an integer id, got {class_id!r}")
    if not BACKGROUND_ID < class_id < IGNORE_ID:
        raise DatasetError(f"{where}: expected an id from 1 to 254, got {class_id}")
    if not isinstance(name, str) or not name.strip():
        raise DatasetError(f"{where}: expected a name, got {name!r}")
    color = entry.get("color", DEFAULT_COLORS[number % len(DEFAULT_COLORS)])
    if not isinstance(color, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise DatasetError(f"{where}: expected a color like #3fb950, got {color!r}")
    return ClassSpec(class_id, name.strip(), color.lower())


def _open_clip(path: Path) -> ClipFolder:
    images = list_images(path / "images")
    if not images:
        raise DatasetError(f"{path.name}/images: expected .png or .jpg files, found none")
    by_stem = {image.stem: image for image in images}
    if len(by_stem) < len(images):
        raise DatasetError(f"{path.name}/images: two images share a stem, masks would be ambiguous")
    masks = {}
    if (path / "masks").is_dir():
        masks = {mask.stem: mask for mask in (path / "masks").glob("*.png")}
    stray = sorted(masks.keys() - by_stem.keys(), key=str)
    if stray:
        raise DatasetError(f"{path.name}/masks/{stray[0]}.png: expected an image of the same stem")
    frames = tuple(AnnotatedPath(image, masks.get(image.stem)) for image in images)
    return ClipFolder(path.name, frames)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order (frame_2 before frame_10)."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def read_image(path: Path) -> UInt8Array:
    """(H, W, 3) uint8 RGB; grey becomes three equal channels, 16 bit is scaled, alpha dropped.

    Raises DatasetError when the file is not a readable image.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None:
        raise DatasetError(f"{path.name}: expected a readable image, got something else")
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DatasetError(f"{path.name}: expected 8 or 16 bit pixels, got {pixels.dtype}")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def read_mask(path: Path, classes: tuple[ClassSpec, ...], shape: tuple[int, ...]) -> UInt8Array:
    """(H, W) uint8 class ids.

    shape: (H, W) of its image. Raises DatasetError: unreadable, not 8 bit with one channel, another
    size than its image, or ids that classes.json does not declare.
    """
    where = f"{path.parent.parent.name}/masks/{path.name}"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if mask is None:
        raise DatasetError(f"{where}: expected a readable PNG, got something else")
    if mask.ndim == 3 and np.array_equal(mask[..., 0], mask[..., 1]):
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype != np.uint8:
        depth, channels = mask.dtype, 1 if mask.ndim == 2 else mask.shape[2]
        raise DatasetError(f"{where}: expected uint8 with one channel, got {depth} with {channels}")
    if mask.shape != tuple(shape[:2]):
        raise DatasetError(
            f"{where}: expected the image's size {shape[1]}x{shape[0]}, "
            f"got {mask.shape[1]}x{mask.shape[0]}"
        )
    known = {spec.class_id for spec in classes} | {BACKGROUND_ID, IGNORE_ID}
    unknown = sorted({int(value) for value in np.unique(mask)} - known)
    if unknown:
        raise DatasetError(f"{where}: id {unknown[0]} is not declared in classes.json")
    return np.ascontiguousarray(mask)


def write_classes(root: Path, classes: tuple[ClassSpec, ...]) -> None:
    """Write DATA/classes.json."""
    listed = [{"id": s.class_id, "name": s.name, "color": s.color} for s in classes]
    (root / "classes.json").write_text(json.dumps({"classes": listed}, indent=2) + "\n")


def write_frame(clip: Path, stem: str, image_rgb: UInt8Array, class_mask: UInt8Array) -> None:
    """Write one annotated frame of a clip; the folders must exist."""
    cv2.imwrite(str(clip / "images" / f"{stem}.png"), image_rgb[..., ::-1])
    cv2.imwrite(str(clip / "masks" / f"{stem}.png"), class_mask)

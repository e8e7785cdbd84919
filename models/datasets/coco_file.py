"""An annotation file in COCO's format: its images, its categories, and its regions as pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets.folder import DEFAULT_COLORS
from models.datasets.image_files import require_size
from models.datasets.regions import BoolArray, fill_polygon, fill_runs, unpack_counts
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class CocoImage:
    """An image of the file with its regions: (class id, segmentation as the file has it)."""

    file_name: str
    size: tuple[int, int]
    regions: tuple[tuple[int, Any], ...]


@dataclass(frozen=True)
class CocoFile:
    """One annotation file; name: below the root."""

    path: Path
    name: str
    classes: tuple[ClassSpec, ...]
    images: tuple[CocoImage, ...]


def read_file(path: Path, root: Path) -> CocoFile:
    """Read an annotation file. Raises DatasetError when it is not in COCO's format."""
    name = str(path.relative_to(root))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{name}: not valid JSON ({error})") from error
    keys = ("images", "categories", "annotations")
    lists = [content.get(key) if isinstance(content, dict) else None for key in keys]
    if not all(isinstance(one, list) for one in lists):
        raise DatasetError(f"{name}: expected an object with lists {', '.join(keys)}")
    try:
        return _parse(path, name, content)
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{name}: expected COCO's fields, got {what}") from error


def _parse(path: Path, name: str, content: dict[str, Any]) -> CocoFile:
    listed = sorted(content["categories"], key=lambda one: int(one["id"]))
    if not 0 < len(listed) < 255:
        raise DatasetError(f"{name}: expected 1 to 254 categories, got {len(listed)}")
    ids = {int(one["id"]): number for number, one in enumerate(listed, start=1)}
    classes = tuple(
        ClassSpec(number, str(one["name"]), DEFAULT_COLORS[(number - 1) % len(DEFAULT_COLORS)])
        for number, one in enumerate(listed, start=1)
    )
    regions: dict[int, list[tuple[int, Any]]] = {int(one["id"]): [] for one in content["images"]}
    if len(regions) < len(content["images"]):
        raise DatasetError(f"{name}: expected an id of its own for each image, one is used twice")
    for one in content["annotations"]:
        image, category = int(one["image_id"]), int(one["category_id"])
        if image not in regions:
            raise DatasetError(f"{name}: annotation {one.get('id')}: expected an image, no {image}")
        if category not in ids:
            raise DatasetError(
                f"{name}: annotation {one.get('id')}: expected a category, no {category}"
            )
        if one.get("segmentation"):
            regions[image].append((ids[category], one["segmentation"]))
    images = tuple(
        CocoImage(
            str(one["file_name"]),
            (int(one["height"]), int(one["width"])),
            tuple(regions[int(one["id"])]),
        )
        for one in content["images"]
    )
    return CocoFile(path, name, classes, images)


def find_image(file_name: str, file: CocoFile, root: Path, subset: str) -> Path:
    """Where an image is that an annotation file names. Raises DatasetError when it is nowhere."""
    relative = Path(file_name)
    if relative.is_absolute() or ".." in relative.parts:
        raise DatasetError(f"{file.name}: expected images inside the folder, got {file_name}")
    places = (file.path.parent, root / "images", root / "images" / subset, root, root / subset)
    for place in places:
        if (place / relative).is_file():
            return place / relative
    raise DatasetError(f"{file.name}: expected an image {file_name} in images, found none")


def read_regions(image: CocoImage, path: Path, name: str) -> UInt8Array:
    """(H, W) class ids, the smaller region on top.

    Raises DatasetError: a region that cannot be drawn, a picture of another size than stated.
    """
    require_size(image.size, f"{name}: {image.file_name}", path)
    mask = np.zeros(image.size, np.uint8)
    drawn = [(class_id, _draw(what, image, name)) for class_id, what in image.regions]
    for class_id, region in sorted(drawn, key=lambda one: int(one[1].sum()), reverse=True):
        mask[region] = class_id
    return mask


def _draw(segmentation: Any, image: CocoImage, name: str) -> BoolArray:
    try:
        if isinstance(segmentation, dict):
            size, counts = segmentation["size"], segmentation["counts"]
            if tuple(size) != image.size:
                raise ValueError(f"expected run lengths of size {list(image.size)}, got {size}")
            unpacked = unpack_counts(counts) if isinstance(counts, str) else counts
            return fill_runs(unpacked, image.size, by_column=True)
        region = np.zeros(image.size, np.bool_)
        for ring in segmentation:
            points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
            region |= fill_polygon(points, image.size)
        return region
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{name}: {image.file_name}: a region cannot be drawn: {error}"
        ) from error

"""An annotation file in COCO's format: its images, its categories, and its regions as pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets.folder import DEFAULT_COLORS
from models.datasets.image_files import require_size
from models.datasets.json_file import read_json, whole
from models.datasets.named_images import NamedImages
from models.datasets.regions import BoolArray, corners, fill_rings, fill_runs, unpack_counts
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class CocoRegion:
    """An annotation with an outline, as the file has it; number: its id, for messages."""

    number: str
    class_id: int
    segmentation: Any


@dataclass(frozen=True)
class CocoImage:
    """An image of the file with its regions. bare: its annotations without one ("3 is a box")."""

    file_name: str
    size: tuple[int, int]
    regions: tuple[CocoRegion, ...]
    bare: tuple[str, ...] = ()


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
    content = read_json(path, name)
    keys = ("images", "categories", "annotations")
    lists = [content.get(key) if isinstance(content, dict) else None for key in keys]
    if not all(isinstance(one, list) for one in lists):
        raise DatasetError(f"{name}: expected an object with lists {', '.join(keys)}")
    try:
        return _parse(path, name, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{name}: expected COCO's fields, got {what}") from error


def _parse(path: Path, name: str, content: dict[str, Any]) -> CocoFile:
    listed = sorted(content["categories"], key=lambda one: whole(one["id"]))
    if not 0 < len(listed) < 255:
        raise DatasetError(f"{name}: expected 1 to 254 categories, got {len(listed)}")
    _require_once(name, "category id", [str(whole(one["id"])) for one in listed])
    _require_once(name, "category", [str(one["name"]) for one in listed])
    ids = {whole(one["id"]): number for number, one in enumerate(listed, start=1)}
    classes = tuple(
        ClassSpec(number, str(one["name"]), DEFAULT_COLORS[(number - 1) % len(DEFAULT_COLORS)])
        for number, one in enumerate(listed, start=1)
    )
    stated = content["images"]
    _require_once(name, "image id", [str(whole(one["id"])) for one in stated])
    _require_once(name, "image", [str(one["file_name"]) for one in stated])
    regions: dict[int, list[CocoRegion]] = {whole(one["id"]): [] for one in stated}
    bare: dict[int, list[str]] = {number: [] for number in regions}
    for one in content["annotations"]:
        image, category = whole(one["image_id"]), whole(one["category_id"])
        number = str(one.get("id"))
        if image not in regions:
            raise DatasetError(f"{name}: annotation {number}: expected an image, no {image}")
        if category not in ids:
            raise DatasetError(f"{name}: annotation {number}: expected a category, no {category}")
        if one.get("segmentation"):
            regions[image].append(CocoRegion(number, ids[category], one["segmentation"]))
        else:
            bare[image].append(f"{number} {'is a box' if one.get('bbox') else 'has no outline'}")
    images = tuple(
        CocoImage(
            str(one["file_name"]),
            (whole(one["height"]), whole(one["width"])),
            tuple(regions[whole(one["id"])]),
            tuple(bare[whole(one["id"])]),
        )
        for one in stated
    )
    return CocoFile(path, name, classes, images)


def _require_once(name: str, what: str, values: list[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise DatasetError(f"{name}: expected each {what} once, got {value} twice")
        seen.add(value)


def images_of_file(file: CocoFile, root: Path, subset: str) -> NamedImages:
    """Where the images are that an annotation file names."""
    places = (file.path.parent, root / "images", root / "images" / subset, root, root / subset)
    return NamedImages(places, file.name)


def read_regions(image: CocoImage, path: Path, name: str) -> UInt8Array:
    """(H, W) class ids, the smaller region on top.

    Raises DatasetError: a region that cannot be drawn, a picture of another size than stated.
    """
    require_size(image.size, f"{name}: {image.file_name}", path)
    mask = np.zeros(image.size, np.uint8)
    drawn = [(region.class_id, _draw(region, image, name)) for region in image.regions]
    for class_id, pixels in sorted(drawn, key=lambda one: int(one[1].sum()), reverse=True):
        mask[pixels] = class_id
    return mask


def _draw(region: CocoRegion, image: CocoImage, name: str) -> BoolArray:
    try:
        if isinstance(region.segmentation, dict):
            size, counts = region.segmentation["size"], region.segmentation["counts"]
            if tuple(size) != image.size:
                raise ValueError(f"expected run lengths of size {list(image.size)}, got {size}")
            unpacked = unpack_counts(counts) if isinstance(counts, str) else counts
            return fill_runs(unpacked, image.size, by_column=True)
        return fill_rings([corners(ring) for ring in region.segmentation], image.size)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(
            f"{name}: annotation {region.number} of {image.file_name} cannot be drawn: {what}"
        ) from error

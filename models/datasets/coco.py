"""Exports in COCO's format: one JSON file of images, categories and annotated regions.

    ROOT/annotations/instances_<subset>.json    images in ROOT/images[/<subset>]  (CVAT, COCO)
    ROOT/<subset>/_annotations.coco.json        images beside it                  (Roboflow)
    ROOT/<subset>/annotation_coco.json          images beside it
    ROOT/result.json                            images where it says              (Label Studio)

Regions are polygons, run lengths, or run lengths as a compressed string; where they overlap, the
smaller one is on top. A region with `iscrowd` counts as its category: annotation tools mark painted
masks so. Class ids are 1, 2, ... in the order of the category ids, which may be 0. An image without
a region is not annotated, unless empty="background" says that nothing is to be seen in it.
A sequence is a folder of images, or what the group of the regular expression `sequence` finds in a
file name. Subsets called train, val, valid, validation and test are
the splits.

The format is COCO's published one; the places are those that the exporters' documentation names.
The JSON file is read as a whole: outlines stay in memory, pixels do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.datasets.choices import one_of
from models.datasets.folder import DEFAULT_COLORS
from models.datasets.image_files import natural, read_image, require_size
from models.datasets.phantom_dataset import Roles
from models.datasets.regions import (
    BoolArray,
    fill_polygon,
    fill_runs,
    pack_counts,
    runs,
    unpack_counts,
)
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.phantom import CLASSES
from models.types import ClassSpec, UInt8Array

PLACES = (
    "annotations/*.json",
    "*/_annotations.coco.json",
    "*/annotation_coco.json",
    "_annotations.coco.json",
    "annotation_coco.json",
    "result.json",
)
SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
FIXTURE_CLASSES = CLASSES[:4]
ROLES = Roles(shafts={1: 1, 2: 2, 3: 3, 4: 4}, jaws={1: 1, 2: 2, 3: 3, 4: 4})


def open_coco(root: Path, *, sequence: str | None = None, empty: str = "unannotated") -> Dataset:
    """Open an export in COCO's format.

    sequence: a regular expression with one group that finds a sequence's name in a file name
    empty: what an image without a region is, "unannotated" or "background"
    Raises DatasetError: no annotation file, one that is not COCO's, files with other categories, a
      region of no image or category, an image that is not there; on reading, a region that cannot
      be drawn, an image of another size than the file says.
    """
    one_of("empty", empty, ("unannotated", "background"))
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    found = sorted({path for place in PLACES for path in root.glob(place)}, key=natural)
    if not found:
        raise DatasetError(f"{root}: expected annotations/instances_*.json or alike, found none")
    files = [read_file(path, root) for path in found]
    classes = files[0].classes
    for file in files[1:]:
        if file.classes != classes:
            raise DatasetError(
                f"{file.name}: expected the categories of {files[0].name}, got others"
            )
    sequences = [one for file in files for one in _sequences(file, root, sequence, empty)]
    return Dataset("coco", root, classes, tuple(sequences))


def write_coco(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write annotations/instances_default.json with compressed run lengths; yields frames."""
    (out / "annotations").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for sequence in dataset.sequences:
        (out / "images" / sequence.name).mkdir(parents=True, exist_ok=True)
        for frame in sequence.frames:
            name, number = f"{sequence.name}/{frame.name}.png", len(images) + 1
            image = frame.read_image()
            cv2.imwrite(str(out / "images" / name), image[..., ::-1])
            size = {"height": image.shape[0], "width": image.shape[1]}
            images.append({"id": number, "file_name": name, **size})
            if frame.read_mask is not None:
                regions += _regions(frame.read_mask(), number, len(regions))
            yield len(images)
    categories = [{"id": spec.class_id, "name": spec.name} for spec in dataset.classes]
    content = {"images": images, "categories": categories, "annotations": regions}
    (out / "annotations/instances_default.json").write_text(json.dumps(content))


def _regions(mask: UInt8Array, image: int, before: int) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for class_id in np.unique(mask[mask > 0]).tolist():
        region = mask == class_id
        counts = pack_counts(runs(region, by_column=True))
        left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
        written.append(
            {
                "id": before + len(written) + 1,
                "image_id": image,
                "category_id": class_id,
                "segmentation": {"size": list(mask.shape), "counts": counts},
                "area": int(region.sum()),
                "bbox": [left, top, width, height],
                "iscrowd": 0,
            }
        )
    return written


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


def _sequences(
    file: CocoFile, root: Path, pattern: str | None, empty: str
) -> list[AnnotatedSequence]:
    subset = _subset(file)
    grouped: dict[str, list[tuple[str, AnnotatedFrame]]] = {}
    for image in sorted(file.images, key=lambda one: natural(Path(one.file_name))):
        path = find_image(image.file_name, file, root, subset)
        annotated = bool(image.regions) or empty == "background"
        read = partial(read_regions, image, path, file.name) if annotated else None
        frame = AnnotatedFrame(path.stem, partial(read_image, path), read)
        grouped.setdefault(_sequence_name(image, subset, pattern), []).append((path.name, frame))
    return [
        AnnotatedSequence(
            name,
            tuple(frame for _, frame in frames),
            group=name,
            split=SPLITS.get(subset.rstrip("0123456789")),
        )
        for name, frames in grouped.items()
    ]


def _subset(file: CocoFile) -> str:
    """What the file is of: its name after the last underscore, or the folder it is in."""
    in_place = file.path.parent.name == "annotations"
    return (
        re.split(r"[_-]", file.path.stem)[-1] if in_place else file.path.parent.name.split("_")[0]
    )


def _sequence_name(image: CocoImage, subset: str, pattern: str | None) -> str:
    folder = Path(image.file_name).parent.name
    if pattern is None:
        return folder or subset
    found = re.search(pattern, image.file_name)
    if found is None or not found.groups():
        raise DatasetError(
            f"sequence: expected a group that finds {image.file_name}, got {pattern}"
        )
    return found.group(1)


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

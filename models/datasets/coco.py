"""Exports in COCO's format: one JSON file of images, categories and annotated regions.

    ROOT/annotations/instances_<subset>.json    images in ROOT/images[/<subset>]  (CVAT, COCO)
    ROOT/<subset>/_annotations.coco.json        images beside it                  (Roboflow)
    ROOT/<subset>/annotation_coco.json          images beside it
    ROOT/result.json                            images where it says              (Label Studio)

Regions are polygons, run lengths, or run lengths as a compressed string; where they overlap, the
smaller one is on top. A ring of one or two corners beside others is a stray click. A box without
an outline is refused, or passed over with shapes="skip". A region with `iscrowd` counts as its
category: annotation tools mark painted masks so. Class ids are 1, 2, ... in the order of the
category ids, which may be 0. An image without a region is not annotated, unless empty="background"
says that nothing is to be seen in it.
A sequence is a folder of images, or what the group of the regular expression `sequence` finds in a
file name. Subsets called train, val, valid, validation and test are the splits.

The format is COCO's published one; the places are those that the exporters' documentation names.
The JSON file is read as a whole: outlines stay in memory, pixels do not.
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

from models.datasets.choices import one_of, pattern
from models.datasets.coco_file import CocoFile, CocoImage, images_of_file, read_file, read_regions
from models.datasets.image_files import is_hidden, natural, read_image
from models.datasets.phantom_dataset import Roles
from models.datasets.regions import pack_counts, runs
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.phantom import CLASSES
from models.types import UInt8Array

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


def open_coco(
    root: Path,
    *,
    sequence: str | None = None,
    empty: str = "unannotated",
    shapes: str = "refuse",
) -> Dataset:
    """Open an export in COCO's format.

    sequence: a regular expression with one group that finds a sequence's name in a file name
    empty: what an image without a region is, "unannotated" or "background"
    shapes: what to do with boxes and the like, which outline nothing, "refuse" or "skip"
    Raises DatasetError: no annotation file, one that is not COCO's, files with other categories, a
      region of no image or category, a box, an image that is not there or there twice; on
      reading, a region that cannot be drawn, an image of another size than the file says.
    """
    one_of("empty", empty, ("unannotated", "background"))
    pattern("sequence", sequence)
    one_of("shapes", shapes, ("refuse", "skip"))
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    placed = {path for place in PLACES for path in root.glob(place) if not is_hidden(path, root)}
    found = sorted(placed, key=natural)
    if not found:
        raise DatasetError(f"{root}: expected annotations/instances_*.json or alike, found none")
    files = [read_file(path, root) for path in found]
    classes = files[0].classes
    for file in files[1:]:
        if file.classes != classes:
            raise DatasetError(
                f"{file.name}: expected the categories of {files[0].name}, got others"
            )
    for file in files:
        _require_outlines(file, shapes)
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


def _require_outlines(file: CocoFile, shapes: str) -> None:
    """What a box shows would be taught as background. Raises DatasetError."""
    bare = [(image.file_name, which) for image in file.images for which in image.bare]
    if bare and (shapes == "refuse" or not any(image.regions for image in file.images)):
        image, which = bare[0]
        skip = ' (shapes="skip")' if shapes == "refuse" else ""
        raise DatasetError(
            f"{file.name}: expected outlines, annotation {which} in {image}, "
            f"one of {len(bare)}{skip}"
        )


def _sequences(
    file: CocoFile, root: Path, pattern: str | None, empty: str
) -> list[AnnotatedSequence]:
    subset = _subset(file)
    named = images_of_file(file, root, subset)
    grouped: dict[str, list[tuple[str, AnnotatedFrame]]] = {}
    for image in sorted(file.images, key=lambda one: natural(Path(one.file_name))):
        path = named.find(image.file_name)
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
    folder = Path(image.file_name.replace("\\", "/")).parent.name
    if pattern is None:
        return folder or subset
    found = re.search(pattern, image.file_name)
    if found is None or not found.groups():
        raise DatasetError(
            f"sequence: expected a group that finds {image.file_name}, got {pattern}"
        )
    return found.group(1)

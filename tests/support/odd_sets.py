"""Small annotated data sets as tools and people leave them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.types import UInt8Array

SIZE = (48, 64)
CLASSES = [{"id": 1, "name": "grasper"}, {"id": 2, "name": "hook"}]
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]


def scene(number: int = 0) -> tuple[UInt8Array, UInt8Array]:
    """A picture with a bright square, and the mask of it: (H, W, 3), (H, W)."""
    image, mask = np.full((*SIZE, 3), 90, np.uint8), np.zeros(SIZE, np.uint8)
    place = np.s_[8:24, 6 + 4 * number : 26 + 4 * number]
    image[place], mask[place] = 220, 1
    return image, mask


def save_mask(path: Path, mask: UInt8Array) -> None:
    Image.fromarray(mask).save(path)


def folder_set(
    root: Path, frames: int = 4, save: Callable[[Path, UInt8Array], None] = save_mask
) -> Path:
    """A folder data set. save: writes one mask"""
    for part in ("images", "masks"):
        (root / "clip" / part).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"classes": CLASSES}))
    for number in range(frames):
        image, mask = scene(number)
        Image.fromarray(image).save(root / f"clip/images/{number:03d}.png")
        save(root / f"clip/masks/{number:03d}.png", mask)
    return root


def outline(number: int, image: int, segmentation: Any = None, **more: Any) -> dict[str, Any]:
    """A COCO annotation."""
    rings = [SQUARE] if segmentation is None else segmentation
    fields = {"id": number, "image_id": image, "category_id": 1, "segmentation": rings}
    return fields | more


def coco_set(
    root: Path,
    drawn: Sequence[dict[str, Any]],
    names: Sequence[str] = ("000.png", "001.png"),
    encoding: str = "utf-8",
    **more: Any,
) -> Path:
    """A COCO data set of two images 000.png and 001.png. more: replaces parts of the file"""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(2):
        Image.fromarray(scene(number)[0]).save(root / f"images/{number:03d}.png")
    size = {"height": SIZE[0], "width": SIZE[1]}
    listed = [{"id": n + 1, "file_name": name, **size} for n, name in enumerate(names)]
    content = {
        "images": listed,
        "categories": [{"id": 1, "name": "grasper"}],
        "annotations": list(drawn),
    }
    path = root / "annotations/instances_default.json"
    path.write_text(json.dumps(content | more), encoding=encoding)
    return root


def cvat_set(root: Path, body: str, meta: str = "", encoding: str = "utf-8") -> Path:
    """An annotations.xml with one label, and an empty folder of images."""
    (root / "images").mkdir(parents=True)
    labels = "<labels><label><name>grasper</name></label></labels>"
    size = f"<original_size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></original_size>"
    head = f"<meta><task><name>t</name>{meta}{labels}{size}</task></meta>"
    text = f"<annotations><version>1.1</version>{head}{body}</annotations>"
    (root / "annotations.xml").write_text(text, encoding=encoding)
    return root


TRIANGLE = '<polygon label="grasper" points="10,10;30,10;30,30"/>'


def cvat_image(name: str, shapes: str = TRIANGLE) -> str:
    """An image of an annotations.xml."""
    return f'<image id="0" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>'

"""The DAVIS layout, in which video object segmentation is exchanged.

    ROOT/JPEGImages/480p/<sequence>/00000.jpg
    ROOT/Annotations/480p/<sequence>/00000.png    palette image: index = object, 0 background
    ROOT/ImageSets/2017/train.txt, val.txt        a sequence a line
    ROOT/ImageSets/480p/train.txt, val.txt        (2016) an image and its mask a line
    ROOT/classes.json                             ours, may be missing: what the objects are

In DAVIS an object's number means nothing beyond its sequence; without classes.json the classes are
object_1 to object_N. Index 255 is ignored. In DAVIS 2016 (`year=2016`) masks are 0 and 255, and
whatever is not 0 is object 1.

Layout, lists and palette are verified in public code that reads DAVIS; not against the data itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from models.datasets.choices import one_of, within
from models.datasets.folder import DEFAULT_COLORS, read_classes, write_classes
from models.datasets.image_files import (
    images_of,
    label_values,
    list_folders,
    masks_of,
    opened_image,
    read_image,
    require_folder,
    require_known,
    require_size,
)
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.phantom import CLASSES
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec, UInt8Array

SPLITS = {"train": "train", "val": "validation", "test-dev": "test"}
OBJECTS = 4
ROLES = Roles(shafts={1: 1, 2: 2, 3: 3, 4: 4}, jaws={1: 1, 2: 2, 3: 3, 4: 4})


def open_davis(
    root: Path, *, resolution: str = "480p", year: int = 2017, objects: int = 10
) -> Dataset:
    """Open a data set in the DAVIS layout.

    resolution: the folder under JPEGImages and Annotations; year: 2016 (binary) or 2017
    objects: the largest number of an object where there is no classes.json
    Raises DatasetError: a folder missing or empty, a mask of no image, a list that names a sequence
      that is not there; on reading, a mask of another size or in colour, or an unknown object.
    """
    one_of("year", year, (2016, 2017))
    within("objects", objects, 1, 254)
    images = require_folder(root, f"JPEGImages/{resolution}")
    masks = require_folder(root, f"Annotations/{resolution}")
    classes = _classes(root, 1 if year == 2016 else objects)
    folders = list_folders(images, r".+", "bear")
    splits = _splits(root, {folder.name for folder in folders})
    sequences = tuple(
        AnnotatedSequence(
            folder.name,
            _open_sequence(folder, masks / folder.name, classes, year),
            group=folder.name,
            split=splits.get(folder.name),
        )
        for folder in folders
    )
    return Dataset("davis", root, classes, sequences)


def write_davis(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences of at most 254 objects, and classes.json; yields frames written."""
    out.mkdir(parents=True, exist_ok=True)
    write_classes(out, dataset.classes)
    (out / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
    names = "".join(f"{sequence.name}\n" for sequence in dataset.sequences)
    (out / "ImageSets/2017/train.txt").write_text(names)
    written = 0
    for sequence in dataset.sequences:
        pictures = out / "JPEGImages/480p" / sequence.name
        labels = out / "Annotations/480p" / sequence.name
        for folder in (pictures, labels):
            folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(sequence.frames):
            quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
            name = f"{number:05d}"
            cv2.imwrite(str(pictures / f"{name}.jpg"), frame.read_image()[..., ::-1], quality)
            if frame.read_mask is not None:
                indexed = Image.fromarray(frame.read_mask(), mode="P")
                indexed.putpalette(_palette(dataset.classes))
                indexed.save(labels / f"{name}.png")
            written += 1
            yield written


def object_classes(count: int) -> tuple[ClassSpec, ...]:
    """Classes object_1 to object_count."""
    return tuple(
        ClassSpec(number, f"object_{number}", DEFAULT_COLORS[(number - 1) % len(DEFAULT_COLORS)])
        for number in range(1, count + 1)
    )


def _classes(root: Path, objects: int) -> tuple[ClassSpec, ...]:
    path = root / "classes.json"
    return read_classes(path) if path.is_file() else object_classes(objects)


def _open_sequence(
    images: Path, masks: Path, classes: tuple[ClassSpec, ...], year: int
) -> tuple[AnnotatedFrame, ...]:
    found = images_of(images, f"JPEGImages/{images.name}")
    if not found:
        raise DatasetError(f"JPEGImages/{images.name}: expected .jpg files, found none")
    labels = masks_of(masks, found, f"Annotations/{masks.name}")
    return tuple(
        AnnotatedFrame(
            path.stem,
            partial(read_image, path),
            partial(_read_mask, labels[path.stem], path, classes, year)
            if path.stem in labels
            else None,
        )
        for path in found
    )


def _read_mask(path: Path, image: Path, classes: tuple[ClassSpec, ...], year: int) -> UInt8Array:
    where = f"Annotations/{path.parent.name}/{path.name}"
    with opened_image(path, where, "a readable PNG") as opened:
        mode = opened.mode
        if mode not in ("P", "L", "1"):
            raise DatasetError(f"{where}: expected a palette or grey image, got one of mode {mode}")
        mask = label_values(opened, path, where)
    if mode == "1":  # one object
        mask = np.minimum(mask, 1)
    require_size(mask.shape, where, image)
    if year == 2016:
        return (mask > 0).astype(np.uint8)
    known = [BACKGROUND_ID, IGNORE_ID, *(spec.class_id for spec in classes)]
    expected = f"objects up to {max(spec.class_id for spec in classes)}"
    require_known(mask, known, where, expected)
    return mask


def _splits(root: Path, names: set[str]) -> dict[str, str]:
    """Sequence -> split, of the lists there are; the 2017 lists win."""
    splits: dict[str, str] = {}
    for folder in ("480p", "2016", "2017"):
        for stem, split in SPLITS.items():
            path = root / f"ImageSets/{folder}/{stem}.txt"
            for line in path.read_text(encoding="utf-8-sig").split("\n") if path.is_file() else ():
                if not line.strip():
                    continue
                first = line.split()[0]
                name = first.split("/")[-2] if first.count("/") > 1 else first
                if name not in names:
                    listed = path.relative_to(root)
                    raise DatasetError(f"{listed}: expected a sequence that is there, got {name!r}")
                splits[name] = split
    return splits


def _palette(classes: tuple[ClassSpec, ...]) -> list[int]:
    """768 numbers: RGB of each index."""
    palette = [0] * 768
    for spec in classes:
        channels = (int(spec.color[at : at + 2], 16) for at in (1, 3, 5))
        palette[3 * spec.class_id : 3 * spec.class_id + 3] = channels
    return palette


FIXTURE_CLASSES = CLASSES[:OBJECTS]

"""EndoVis 2017, robotic instrument segmentation: 8 sequences of 225 frames at 2 Hz, porcine.

As published:
    ROOT/instrument_dataset_1/left_frames/frame000.png              1920 x 1080
                              ground_truth/<tool>_labels/frame000.png
                                  10 shaft, 20 wrist, 30 claspers; a folder's name tells the type
As most code keeps it (Ternaus), cropped and multiplied:
    ROOT/instrument_dataset_1/images/frame000.jpg                   1280 x 1024
                              binary_masks (255), parts_masks (85 * part), instruments_masks (32 *
                              type) / frame000.png

Frames of 1920 x 1080 are cut to 1280 x 1024 at column 320, row 28: the rest is black. "Other"
instruments (an ultrasound probe, say) are type 7 and neither a part nor "instrument" in the binary
task, as in that code. Folds: {1, 3}, {2, 5}, {4, 8}, {6, 7}. Sequence = group.

Folder names, values, factors, crop and folds are verified in public code (ternaus preparation,
several copies); part values against no data. Type folders may lie one level deeper in a release
split in two (instrument_1_4_training, instrument_5_8_training): both are found.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from models.datasets.choices import one_of
from models.datasets.image_files import (
    folders_below,
    images_of,
    masks_of,
    read_image,
    read_label_image,
    require_known,
    visible,
)
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array

FULL, TOP, LEFT, HEIGHT, WIDTH = (1080, 1920), 28, 320, 1024, 1280
FOLDS = ((1, 3), (2, 5), (4, 8), (6, 7))
TYPES: tuple[ClassSpec, ...] = (
    ClassSpec(1, "bipolar_forceps", "#3fb950"),
    ClassSpec(2, "prograsp_forceps", "#58a6ff"),
    ClassSpec(3, "large_needle_driver", "#f2cc60"),
    ClassSpec(4, "vessel_sealer", "#db61a2"),
    ClassSpec(5, "grasping_retractor", "#39c5cf"),
    ClassSpec(6, "monopolar_curved_scissors", "#ff8a4c"),
    ClassSpec(7, "other", "#bc8cff"),
)
PARTS: tuple[ClassSpec, ...] = (
    ClassSpec(1, "shaft", "#3fb950"),
    ClassSpec(2, "wrist", "#58a6ff"),
    ClassSpec(3, "claspers", "#f2cc60"),
)
BINARY: tuple[ClassSpec, ...] = (ClassSpec(1, "instrument", "#3fb950"),)
CLASSES = {"types": TYPES, "parts": PARTS, "binary": BINARY}
PART_STEP = 10  # published value of part n is n times this
TERNAUS = {  # task -> folder, factor
    "types": ("instruments_masks", 32),
    "parts": ("parts_masks", 85),
    "binary": ("binary_masks", 255),
}
OTHER = 7
ROLES = Roles(shafts={1: 1, 2: 6, 3: 7, 6: 3, 7: 4}, jaws={1: 1, 2: 6, 3: 7, 6: 3, 7: 4})


def open_endovis2017(
    root: Path, *, task: str = "types", fold: int | None = None, crop: bool = True
) -> Dataset:
    """Open EndoVis 2017 in either layout.

    task: "types" (ids 1 to 7), "parts" (1 to 3) or "binary" (1)
    fold: 0 to 3, that fold is the test and the other sequences are for training
    crop: cut frames of 1920 x 1080 to 1280 x 1024
    Raises DatasetError: no sequences, one without frames or without annotation folders, a folder of
      an unknown instrument, an annotation of no frame; on reading, a mask of another size or value.
    """
    one_of("task", task, tuple(CLASSES))
    one_of("fold", fold, (None, *range(len(FOLDS))))
    one_of("crop", crop, (False, True))
    folders = folders_below(root, "instrument_dataset_*")
    if not folders:
        raise DatasetError(f"{root}: expected folders such as instrument_dataset_1, found none")
    sequences = tuple(
        AnnotatedSequence(
            folder.name, _frames(folder, task, crop=crop), folder.name, _split(folder.name, fold)
        )
        for folder in folders
    )
    return Dataset("endovis2017", root, CLASSES[task], sequences)


def write_endovis2017(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences whose ids are those of TYPES as published; frames of the cropped size are
    set in black as the camera does. Parts are all claspers. Yields frames written.
    """
    written = 0
    for number, sequence in enumerate(dataset.sequences, start=1):
        folder = out / f"instrument_dataset_{number}"
        (folder / "left_frames").mkdir(parents=True, exist_ok=True)
        for spec in dataset.classes:
            (folder / "ground_truth" / _folder_name(spec)).mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(sequence.frames):
            name = f"frame{index:03d}.png"
            image = _in_black(frame.read_image())
            cv2.imwrite(str(folder / "left_frames" / name), image[..., ::-1])
            mask = np.zeros(image.shape[:2], np.uint8)
            if frame.read_mask is not None:
                mask = _in_black(frame.read_mask())
            for spec in dataset.classes:
                part = (mask == spec.class_id).astype(np.uint8) * (3 * PART_STEP)
                cv2.imwrite(str(folder / "ground_truth" / _folder_name(spec) / name), part)
            written += 1
            yield written


def _folder_name(spec: ClassSpec) -> str:
    return f"{spec.name.title()}_labels"


def _in_black(pixels: UInt8Array) -> UInt8Array:
    if pixels.shape[:2] != (HEIGHT, WIDTH):
        return pixels
    full = np.zeros((*FULL, *pixels.shape[2:]), np.uint8)
    full[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] = pixels
    return full


def _cut(pixels: UInt8Array, *, crop: bool) -> UInt8Array:
    if not crop or pixels.shape[:2] != FULL:
        return pixels
    return np.ascontiguousarray(pixels[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])


def _split(name: str, fold: int | None) -> str | None:
    if fold is None:
        return None
    tested = {f"instrument_dataset_{number}" for number in FOLDS[fold]}
    return "test" if name in tested else "train"


def _frames(folder: Path, task: str, *, crop: bool) -> tuple[AnnotatedFrame, ...]:
    published = (folder / "left_frames").is_dir()
    place = folder / ("left_frames" if published else "images")
    images = images_of(place, f"{folder.name}/{place.name}") if place.is_dir() else []
    if not images:
        raise DatasetError(f"{folder.name}: expected frames in left_frames or images, found none")
    if not published:
        return _ternaus_frames(folder, images, task)
    types = _type_folders(folder)
    annotated = {image.stem for image in images}
    for masks in types:
        where = f"{folder.name}/ground_truth/{masks.name}"
        annotated &= masks_of(masks, images, where).keys()
    return tuple(
        AnnotatedFrame(
            image.stem,
            partial(_read_cut, image, crop=crop),
            partial(_read_types, image, types, task, crop=crop)
            if image.stem in annotated
            else None,
        )
        for image in images
    )


def _type_folders(folder: Path) -> dict[Path, int]:
    """Annotation folder -> type. "Left_Large_Needle_Driver_labels" is of a large needle driver."""
    truth = folder / "ground_truth"
    inside = visible(truth) if truth.is_dir() else []
    found = [path for path in inside if path.is_dir()]
    if not found:
        raise DatasetError(f"{folder.name}: expected folders in ground_truth, found none")
    types = {}
    for path in found:
        name = path.name.lower()
        matching = [spec.class_id for spec in TYPES if spec.name in name]
        if not matching:
            listed = ", ".join(spec.name for spec in TYPES)
            raise DatasetError(
                f"{folder.name}/ground_truth/{path.name}: expected a folder of {listed}"
            )
        types[path] = matching[0]
    return types


def _read_cut(path: Path, *, crop: bool) -> UInt8Array:
    return _cut(read_image(path), crop=crop)


def _read_types(image: Path, types: dict[Path, int], task: str, *, crop: bool) -> UInt8Array:
    mask: UInt8Array | None = None
    for folder, type_id in types.items():
        path = folder / f"{image.stem}.png"
        where = f"{folder.parent.parent.name}/ground_truth/{folder.name}/{path.name}"
        values = read_label_image(path, where, image)
        mask = np.zeros_like(values) if mask is None else mask
        if task == "types":
            mask[values > 0] = type_id
        elif type_id != OTHER and task == "binary":
            mask[values > 0] = 1
        elif type_id != OTHER:
            known = range(0, 4 * PART_STEP, PART_STEP)
            require_known(values, known, where, "parts of 0, 10, 20 or 30")
            np.copyto(mask, values // PART_STEP, where=values > 0)
    assert mask is not None
    return _cut(mask, crop=crop)


def _ternaus_frames(folder: Path, images: list[Path], task: str) -> tuple[AnnotatedFrame, ...]:
    name, factor = TERNAUS[task]
    masks = masks_of(folder / name, images, f"{folder.name}/{name}")
    if not masks:
        raise DatasetError(f"{folder.name}: expected masks in {name}, found none")
    return tuple(
        AnnotatedFrame(
            image.stem,
            partial(read_image, image),
            partial(_read_factor, masks[image.stem], image, factor, len(CLASSES[task]))
            if image.stem in masks
            else None,
        )
        for image in images
    )


def _read_factor(path: Path, image: Path, factor: int, classes: int) -> UInt8Array:
    where = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    values = read_label_image(path, where, image)
    known = [factor * number for number in range(classes + 1)]
    require_known(values, known, where, f"multiples of {factor} up to {known[-1]}")
    return values // factor

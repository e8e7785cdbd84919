"""EndoVis 2018, robotic scene segmentation: 16 porcine nephrectomies, 149 frames each at 2 Hz.

As published, in up to four release folders:
    ROOT/[miccai_challenge_.../]seq_1/left_frames/frame000.png      1280 x 1024
                                      labels/frame000.png           RGB, see SCENE
As ISINet annotated the instruments' types:
    ROOT/train/images/seq_1_frame000.png         also val, test
    ROOT/train/annotations/seq_1_frame000.png    one channel, value = type 1 to 7

task="scene" gives the eleven classes of the challenge, "parts" its shaft, clasper and wrist,
"types" ISINet's. Sequence = group. ISINet's train and val folders are the split; the challenge's
own test labels were published apart. The repaired masks of sequences 1 and 4 belong over the first
release.

Colours, names and order as in the challenge's label file, verified in several public readers; one
public evaluation swaps the colours of shaft and wrist. ISINet's layout is verified in code that
reads it. Neither against the data itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.datasets.choices import one_of
from models.datasets.image_files import (
    folders_below,
    images_of,
    masks_of,
    read_image,
    read_label_image,
    require_known,
    require_size,
)
from models.datasets.phantom_dataset import Roles
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array

SCENE: tuple[ClassSpec, ...] = (
    ClassSpec(1, "instrument_shaft", "#00ff00"),
    ClassSpec(2, "instrument_clasper", "#00ffff"),
    ClassSpec(3, "instrument_wrist", "#7dff0c"),
    ClassSpec(4, "kidney_parenchyma", "#ff3700"),
    ClassSpec(5, "covered_kidney", "#18377d"),
    ClassSpec(6, "thread", "#bb9b19"),
    ClassSpec(7, "clamps", "#00ff7d"),
    ClassSpec(8, "suturing_needle", "#ffff7d"),
    ClassSpec(9, "suction_instrument", "#7b0faf"),
    ClassSpec(10, "small_intestine", "#7c9b05"),
    ClassSpec(11, "ultrasound_probe", "#0cff8d"),
)
TYPES: tuple[ClassSpec, ...] = (
    ClassSpec(1, "bipolar_forceps", "#3fb950"),
    ClassSpec(2, "prograsp_forceps", "#58a6ff"),
    ClassSpec(3, "large_needle_driver", "#f2cc60"),
    ClassSpec(4, "monopolar_curved_scissors", "#db61a2"),
    ClassSpec(5, "ultrasound_probe", "#39c5cf"),
    ClassSpec(6, "suction_instrument", "#ff8a4c"),
    ClassSpec(7, "clip_applier", "#bc8cff"),
)
CLASSES = {"scene": SCENE, "parts": SCENE[:3], "types": TYPES}
SPLITS = {"train": "train", "val": "validation", "test": "test"}
ROLES = Roles(shafts={1: 1, 2: 1, 5: 9, 6: 1}, jaws={1: 2, 2: 2, 5: 9, 6: 3}, tissue=(4, 5, 10))


def open_endovis2018(root: Path, *, task: str = "scene") -> Dataset:
    """Open EndoVis 2018.

    task: "scene" (ids 1 to 11) or "parts" (1 to 3) as published, "types" (1 to 7) of ISINet
    Raises DatasetError: none of the folders of the task, one without frames, a mask of no frame, a
      name that is not seq_N_frameNNN; on reading, a mask of another size, a colour or value that is
      no class.
    """
    one_of("task", task, tuple(CLASSES))
    folders = folders_below(root, "seq_*", inside="left_frames")
    if task == "types":
        sequences = _open_types(root)
    else:
        if not folders:
            raise DatasetError(f"{root}: expected folders such as seq_1/left_frames, found none")
        kept = CLASSES[task]
        sequences = [
            AnnotatedSequence(folder.name, _open_scene(folder, kept), group=folder.name)
            for folder in folders
        ]
    return Dataset("endovis2018", root, CLASSES[task], tuple(sequences))


def write_endovis2018(dataset: Dataset, out: Path) -> Iterator[int]:
    """Write sequences whose ids are those of SCENE as published; yields frames written."""
    colors = np.zeros((256, 3), np.uint8)
    for spec in SCENE:
        colors[spec.class_id] = _rgb(spec)
    written = 0
    for number, sequence in enumerate(dataset.sequences, start=1):
        folder = out / f"seq_{number}"
        for part in ("left_frames", "labels"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(sequence.frames):
            name = f"frame{index:03d}.png"
            cv2.imwrite(str(folder / "left_frames" / name), frame.read_image()[..., ::-1])
            if frame.read_mask is not None:
                label = colors[frame.read_mask()]
                cv2.imwrite(str(folder / "labels" / name), label[..., ::-1])
            written += 1
            yield written


def _rgb(spec: ClassSpec) -> tuple[int, ...]:
    return tuple(int(spec.color[at : at + 2], 16) for at in (1, 3, 5))


def _open_scene(folder: Path, kept: tuple[ClassSpec, ...]) -> tuple[AnnotatedFrame, ...]:
    images = images_of(folder / "left_frames", f"{folder.name}/left_frames")
    if not images:
        raise DatasetError(f"{folder.name}/left_frames: expected .png files, found none")
    masks = masks_of(folder / "labels", images, f"{folder.name}/labels")
    return tuple(
        AnnotatedFrame(
            image.stem,
            partial(read_image, image),
            partial(_read_colors, masks[image.stem], image, len(kept))
            if image.stem in masks
            else None,
        )
        for image in images
    )


def _read_colors(path: Path, image: Path, kept: int) -> UInt8Array:
    where = f"{path.parent.parent.name}/labels/{path.name}"
    rgb = read_image(path)
    require_size(rgb.shape, where, image)
    codes = _codes(rgb)
    mask = np.zeros(codes.shape, np.uint8)
    known = codes == 0
    for spec in SCENE:
        found = codes == _codes(np.array(_rgb(spec), np.uint8))
        known |= found
        if spec.class_id <= kept:
            mask[found] = spec.class_id
    if not known.all():
        color = rgb[~known][0].tolist()
        raise DatasetError(f"{where}: expected the challenge's colours, got RGB {color}")
    return mask


def _codes(rgb: UInt8Array) -> npt.NDArray[np.int32]:
    """(..., 3) -> (...) one number a colour."""
    wide = rgb.astype(np.int32)
    codes: npt.NDArray[np.int32] = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def _open_types(root: Path) -> list[AnnotatedSequence]:
    folders = [name for name in SPLITS if (root / name / "images").is_dir()]
    if not folders:
        raise DatasetError(f"{root}: expected train/images and train/annotations, found none")
    return [one for name in folders for one in _open_types_split(root / name)]


def _open_types_split(folder: Path) -> list[AnnotatedSequence]:
    images = images_of(folder / "images", f"{folder.name}/images")
    masks = masks_of(folder / "annotations", images, f"{folder.name}/annotations")
    if not images or not masks:
        missing = "annotations" if images else "images"
        raise DatasetError(f"{folder.name}/{missing}: expected .png files, found none")
    sequences: dict[str, list[AnnotatedFrame]] = {}
    for image in images:
        found = re.fullmatch(r"(seq_\d+)_(frame\d+)", image.stem)
        if found is None:
            raise DatasetError(
                f"{folder.name}/images/{image.name}: expected a name like seq_1_frame000.png"
            )
        read = partial(_read_types, masks[image.stem], image) if image.stem in masks else None
        frame = AnnotatedFrame(found.group(2), partial(read_image, image), read)
        sequences.setdefault(found.group(1), []).append(frame)
    split = SPLITS[folder.name]
    return [AnnotatedSequence(n, tuple(f), group=n, split=split) for n, f in sequences.items()]


def _read_types(path: Path, image: Path) -> UInt8Array:
    where = f"{path.parent.parent.name}/annotations/{path.name}"
    values = read_label_image(path, where, image)
    require_known(values, range(len(TYPES) + 1), where, "types from 0 to 7")
    return values

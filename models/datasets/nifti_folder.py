"""Volumes in a folder, as in the Medical Segmentation Decathlon and in nnU-Net.

    ROOT/imagesTr/CASE.nii.gz     or .nii, .mhd, .mha; nnU-Net's CASE_0000.nii.gz too
    ROOT/labelsTr/CASE.nii.gz     label ids, 0 background, of the same shape and place
    ROOT/dataset.json             optional: {"labels": {"0": "background", "1": "liver"}}, or the
                                  other way round as nnU-Net writes it

Without a dataset.json the classes are the ids that occur, which means reading all labels once.
Images of several channels (four dimensions) are refused. imagesTs has no labels and is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image

from models.datasets.folder import DEFAULT_COLORS
from models.datasets.image_files import visible
from models.datasets.json_file import read_json, whole
from models.datasets.sequences import Dataset
from models.datasets.volume_cases import Case, Cutting, open_cases
from models.errors import DatasetError
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec
from models.volumes import Window, is_volume, open_volume, read_labels
from models.volumes.files import stem
from models.volumes.foreign import foreign_volume, how_to_convert
from models.volumes.phantom import PhantomVolume


def is_nifti_folder(root: Path) -> bool:
    """Does it have this layout's two folders?"""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir()


def open_nifti_folder(root: Path, *, window: str | None = None, axis: int | None = None) -> Dataset:
    """Open a folder of volumes.

    window: "LOW:HIGH"; axis: of the array, 0 to 2, that counts slices; None chooses for each volume
    Raises DatasetError: a folder missing or without volumes, labels without an image, an image
    without labels, labels that do not overlay, a malformed dataset.json.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    images = list_volumes(root, "imagesTr")
    labels = list_volumes(root, "labelsTr")
    cases = []
    for name, path in labels.items():
        image = images.get(name, images.get(f"{name}_0000"))
        if image is None:
            raise DatasetError(f"labelsTr/{path.name}: expected an image imagesTr/{path.name}")
        cases.append(Case(name, image, path))
    used = {case.image for case in cases}
    alone = next((path for path in images.values() if path not in used), None)
    if alone is not None:
        raise DatasetError(f"imagesTr/{alone.name}: expected labels labelsTr/{alone.name}")
    classes = _declared(root / "dataset.json") or classes_of(cases)
    cutting = Cutting(
        {spec.class_id: spec.class_id for spec in classes},
        window=None if window is None else Window.parse(window),
        axis=axis,
    )
    return Dataset("nifti", root, classes, open_cases(cases, cutting))


def open_volumes(
    images: Sequence[Path],
    labels: Sequence[Path],
    *,
    window: Window | None = None,
    axis: int | None = None,
) -> Dataset:
    """Volumes named one by one, each with its labels. Raises DatasetError."""
    if len(images) != len(labels):
        raise DatasetError(
            f"expected labels for each volume, got {len(images)} volumes and {len(labels)} labels"
        )
    cases = [Case(stem(one), one, other) for one, other in zip(images, labels, strict=True)]
    classes = classes_of(cases)
    cutting = Cutting({spec.class_id: spec.class_id for spec in classes}, True, window, axis)
    return Dataset("volumes", images[0].parent, classes, open_cases(cases, cutting))


def list_volumes(root: Path, folder: str) -> dict[str, Path]:
    """Volumes of ROOT/folder by name, in natural order. Raises DatasetError: none, or one twice."""
    if not (root / folder).is_dir():
        raise DatasetError(f"expected a folder {folder} in {root}, found none")
    listed = visible(root / folder)
    found = [path for path in listed if is_volume(path)]
    for path in listed:
        if path not in found and (foreign := foreign_volume(path)):
            raise DatasetError(
                f"{folder}/{path.name}: expected volumes, got {foreign}; {how_to_convert(foreign)}"
            )
    if not found:
        raise DatasetError(f"{folder}: expected volumes (.nii, .nii.gz, .mhd, .mha), found none")
    named = {stem(path): path for path in found}
    if len(named) < len(found):
        twice = next(path for path in found if named[stem(path)] != path)
        raise DatasetError(f"{folder}/{twice.name}: expected one file for {stem(twice)}, found two")
    return named


def classes_of(cases: Sequence[Case]) -> tuple[ClassSpec, ...]:
    """A class for each label that occurs, called by its number. Reads labels, one at a time."""
    found: set[int] = set()
    for case in cases:
        if case.labels is not None:
            labels = read_labels(open_volume(case.labels), open_volume(case.image))
            found |= set(np.unique(labels).tolist())
    ids = sorted(found - {BACKGROUND_ID, IGNORE_ID})
    if not ids:
        raise DatasetError("expected labels above 0 in the label volumes, found only background")
    return tuple(ClassSpec(n, f"label {n}", color_of(place)) for place, n in enumerate(ids))


def color_of(place: int) -> str:
    """The color of the n-th class."""
    return DEFAULT_COLORS[place % len(DEFAULT_COLORS)]


def _declared(path: Path) -> tuple[ClassSpec, ...]:
    """Classes that dataset.json names; none where there is no such file. Raises DatasetError."""
    if not path.is_file():
        return ()
    try:
        content = read_json(path, path.name)
        listed = content["labels"].items()
        named = {_label(key, value): _name(key, value) for key, value in listed}
        if len(named) < len(listed):
            raise ValueError("a label twice")
    except (DatasetError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{path.name}: expected {{"labels": {{"1": "liver"}}}} with ids of 1 to 254'
        ) from error
    ids = sorted(named.keys() - {BACKGROUND_ID})
    if not ids or not all(0 < n < IGNORE_ID for n in ids):
        raise DatasetError(f"{path.name}: expected label ids of 1 to 254, got {ids}")
    return tuple(ClassSpec(n, named[n], color_of(place)) for place, n in enumerate(ids))


def _label(key: str, value: Any) -> int:
    return whole(key if key.isdecimal() else value)


def _name(key: str, value: Any) -> str:
    return str(value) if key.isdecimal() else key


def write_nifti_folder(
    volumes: Iterable[PhantomVolume], out: Path, names: Sequence[str] = ()
) -> Iterator[int]:
    """Write volumes in this layout; yields volumes written. names: of labels 1 to n, if any"""
    for folder in ("imagesTr", "labelsTr"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    if names:
        listed = {"0": "background", **{str(n): name for n, name in enumerate(names, start=1)}}
        (out / "dataset.json").write_text(json.dumps({"labels": listed}))
    for number, volume in enumerate(volumes, start=1):
        for folder, voxels in (("imagesTr", volume.voxels), ("labelsTr", volume.labels)):
            image: Any = Nifti1Image(voxels, volume.grid.affine)
            image.to_filename(out / folder / f"case_{number:03d}.nii.gz")
        yield number

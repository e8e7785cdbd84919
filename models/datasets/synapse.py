"""Synapse-CT: 30 abdominal CT (BTCV), eight organs, in either of two layouts.

As it is published (RawData/Training):

    ROOT/img/imgNNNN.nii.gz        Hounsfield units
    ROOT/label/labelNNNN.nii.gz    13 organs, of which eight are kept, see RAW_IDS

As TransUNet and its successors prepare it, clipped to -125..275 HU and scaled to 0..1:

    ROOT/train_npz/caseNNNN_sliceMMM.npz    image, label (H, W)
    ROOT/test_vol_h5/caseNNNN.npy.h5        image, label (N, H, W)

Split, label map and window verified in public code (SAMed, H-SAM, TransUNet). Two prepared releases
number organs differently: SAMed's and H-SAM's as in CLASSES, the default; TransUNet's own aorta,
gallbladder, left kidney, right kidney, liver, pancreas, spleen, stomach. Nothing in the files says
which: look at the contact sheet, and open with organs="transunet" if the names sit wrong. The cases
that OFL-SAM2 fits on are not published.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from models.datasets.choices import one_of
from models.datasets.nifti_folder import list_volumes
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.datasets.volume_cases import Case, Cutting, open_cases
from models.errors import DatasetError
from models.types import ClassSpec, UInt8Array
from models.volumes import Window
from models.volumes.phantom import PhantomVolume
from models.volumes.window import SOFT_TISSUE

CLASSES = (
    ClassSpec(1, "spleen", "#3fb950"),
    ClassSpec(2, "right kidney", "#58a6ff"),
    ClassSpec(3, "left kidney", "#f2cc60"),
    ClassSpec(4, "gallbladder", "#39c5cf"),
    ClassSpec(5, "liver", "#ff8a4c"),
    ClassSpec(6, "stomach", "#db61a2"),
    ClassSpec(7, "aorta", "#f85149"),
    ClassSpec(8, "pancreas", "#bc8cff"),
)
RAW_IDS = {1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 11: 8}  # BTCV's number -> class id
TRANSUNET_IDS = {1: 7, 2: 4, 3: 3, 4: 2, 5: 5, 6: 8, 7: 1, 8: 6}
TEST = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
UNIT = Window(0.0, 1.0, "the layout's own")
ORGAN_ORDERS = ("samed", "transunet")
UNREADABLE = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def open_synapse(root: Path, *, organs: str = "samed") -> Dataset:
    """Open Synapse-CT in the layout that is there.

    organs: whose numbers the prepared layout has, "samed" or "transunet"; see above
    Raises DatasetError: neither layout, a name or a file that is not the layout's, an image without
    labels or labels without an image, labels that do not overlay, numbers that are no organ's.
    """
    one_of("organs", organs, ORGAN_ORDERS)
    if (root / "train_npz").is_dir() or (root / "test_vol_h5").is_dir():
        return Dataset("synapse", root, CLASSES, _prepared(root, _table(organs)))
    if (root / "img").is_dir() and (root / "label").is_dir():
        return Dataset("synapse", root, CLASSES, _raw(root))
    raise DatasetError(
        f"{root}: expected folders train_npz and test_vol_h5, or img and label, found neither"
    )


def _raw(root: Path) -> tuple[AnnotatedSequence, ...]:
    images, labels = list_volumes(root, "img"), list_volumes(root, "label")
    cases = []
    for name, path in images.items():
        match = re.fullmatch(r"img(\d{4})", name)
        if match is None:
            raise DatasetError(f"img/{path.name}: expected a name imgNNNN.nii.gz")
        own = labels.pop(f"label{match[1]}", None)
        if own is None:
            raise DatasetError(f"img/{path.name}: expected labels label/label{match[1]}.nii.gz")
        cases.append(Case(f"case{match[1]}", path, own, _side(int(match[1]))))
    if labels:
        stray = next(iter(labels.values()))
        raise DatasetError(f"label/{stray.name}: expected an image of the same number in img")
    window = Window(*SOFT_TISSUE, why="the data set's own")
    return open_cases(cases, Cutting(RAW_IDS, strict=False, window=window))


def _side(number: int) -> str:
    return "test" if number in TEST else "train"


def _table(organs: str) -> UInt8Array:
    """(9,) class id of each number in the prepared files."""
    ids = TRANSUNET_IDS if organs == "transunet" else {n: n for n in range(1, 9)}
    return np.array([0, *(ids[n] for n in range(1, 9))], np.uint8)


def _prepared(root: Path, table: UInt8Array) -> tuple[AnnotatedSequence, ...]:
    slices: dict[str, list[AnnotatedFrame]] = {}
    for path in sorted((root / "train_npz").glob("[!.]*")):
        match = re.fullmatch(r"(case\d{4})_slice(\d{3})\.npz", path.name)
        if match is None:
            raise DatasetError(f"train_npz/{path.name}: expected caseNNNN_sliceMMM.npz")
        frame = AnnotatedFrame(
            f"slice{match[2]}", partial(_npz_image, path), partial(_npz_mask, path, table)
        )
        slices.setdefault(match[1], []).append(frame)
    train = [AnnotatedSequence(n, tuple(f), n, "train") for n, f in slices.items()]
    volumes = sorted((root / "test_vol_h5").glob("[!.]*"))
    test = [_open_h5(path, table) for path in volumes]
    if not train and not test:
        raise DatasetError(f"{root}: expected caseNNNN_sliceMMM.npz or caseNNNN.npy.h5, found none")
    return (*train, *test)


def _npz_image(path: Path) -> UInt8Array:
    return _rgb(path, _npz(path, "image"))


def _npz_mask(path: Path, table: UInt8Array) -> UInt8Array:
    return _ids(path, _npz(path, "label"), table)


def _npz(path: Path, key: str) -> Any:
    try:
        with np.load(path, allow_pickle=False) as file:
            slices = {name: file[name] for name in ("image", "label")}
    except UNREADABLE as error:
        raise DatasetError(f"{path.name}: expected image and label arrays ({error})") from error
    if slices["image"].ndim != 2 or slices["image"].shape != slices["label"].shape:
        shapes = f"{slices['image'].shape} and {slices['label'].shape}"
        raise DatasetError(f"{path.name}: expected image and label (H, W) alike, got {shapes}")
    return slices[key]


def _open_h5(path: Path, table: UInt8Array) -> AnnotatedSequence:
    match = re.fullmatch(r"(case\d{4})\.npy\.h5", path.name)
    if match is None:
        raise DatasetError(f"test_vol_h5/{path.name}: expected caseNNNN.npy.h5")
    try:
        with h5py.File(path, "r") as file:
            image, label = (file[key].shape for key in ("image", "label"))
    except (*UNREADABLE, AttributeError) as error:
        raise DatasetError(f"{path.name}: expected HDF5 with image and label ({error})") from error
    if len(image) != 3 or image != label:
        raise DatasetError(
            f"{path.name}: expected image and label (N, H, W) alike, got {image} and {label}"
        )
    frames = tuple(
        AnnotatedFrame(
            f"slice{n:03d}", partial(_h5_image, path, n), partial(_h5_mask, path, n, table)
        )
        for n in range(image[0])
    )
    return AnnotatedSequence(match[1], frames, match[1], "test")


def _h5_image(path: Path, number: int) -> UInt8Array:
    return _rgb(path, _h5(path, "image", number))


def _h5_mask(path: Path, number: int, table: UInt8Array) -> UInt8Array:
    return _ids(path, _h5(path, "label", number), table)


def _h5(path: Path, key: str, number: int) -> Any:
    try:
        with h5py.File(path, "r") as file:
            return file[key][number]
    except UNREADABLE as error:
        raise DatasetError(f"{path.name}: expected a whole HDF5 file ({error})") from error


def _rgb(path: Path, values: Any) -> UInt8Array:
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise DatasetError(f"{path.name}: expected finite numbers in image")
    if float(values.min()) < -0.01 or float(values.max()) > 1.01:
        found = f"{float(values.min()):.4g} to {float(values.max()):.4g}"
        raise DatasetError(f"{path.name}: expected image values from 0 to 1, got {found}")
    return np.repeat(UNIT.grey(values)[..., None], 3, axis=2)


def _ids(path: Path, values: Any, table: UInt8Array) -> UInt8Array:
    known = np.isin(values, np.arange(len(table)))
    if not known.all():
        wrong = values[~known].flat[0]
        raise DatasetError(f"{path.name}: expected labels from 0 to 8, got {wrong}")
    ids: UInt8Array = table[values.astype(np.intp)]
    return ids


def write_synapse_prepared(
    train: Iterable[PhantomVolume], test: Iterable[PhantomVolume], out: Path
) -> Iterator[int]:
    """Write CT volumes in the prepared layout, numbers as in CLASSES; yields volumes written."""
    for folder in ("train_npz", "test_vol_h5"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    written = 0
    for number, volume in zip((n for n in range(1, 41) if n not in TEST), train, strict=False):
        image, label = _scaled(volume)
        for place in range(len(image)):
            file = out / f"train_npz/case{number:04d}_slice{place:03d}.npz"
            np.savez_compressed(file, image=image[place], label=label[place])
        written += 1
        yield written
    for number, volume in zip(TEST, test, strict=False):
        image, label = _scaled(volume)
        with h5py.File(out / f"test_vol_h5/case{number:04d}.npy.h5", "w") as file:
            file["image"], file["label"] = image, label
        written += 1
        yield written


def _scaled(volume: PhantomVolume) -> tuple[Any, Any]:
    """image 0 to 1 and label, (N, H, W) float32: slices first, the labels too as in the releases"""
    low, high = SOFT_TISSUE
    image = ((volume.voxels.clip(low, high) - low) / (high - low)).astype(np.float32)
    return np.moveaxis(image, 2, 0), np.moveaxis(volume.labels, 2, 0).astype(np.float32)


def write_synapse_raw(volumes: Iterable[PhantomVolume], out: Path) -> Iterator[int]:
    """Write CT volumes as published, labels 1 to 8 under BTCV's numbers; yields volumes written."""
    from nibabel.nifti1 import Nifti1Image

    numbers = np.zeros(256, np.uint8)
    for raw, class_id in RAW_IDS.items():
        numbers[class_id] = raw
    for folder in ("img", "label"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for number, volume in enumerate(volumes, start=1):
        for kind, voxels in (("img", volume.voxels), ("label", numbers[volume.labels])):
            image: Any = Nifti1Image(voxels, volume.grid.affine)
            image.to_filename(out / kind / f"{kind}{number:04d}.nii.gz")
        yield number

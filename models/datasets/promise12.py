"""PROMISE12: 50 T2-weighted MR of the prostate, one class (Zenodo 8026660).

    ROOT/CaseNN.mhd + CaseNN.raw                            NN = 00 to 49; also in subfolders
    ROOT/CaseNN_segmentation.mhd + CaseNN_segmentation.raw  0 or 1

H-SAM's few-shot lists, verified in its public code: fitting 05 14 29, test 12 13 16 20 23 28 34 35
43 49. OFL-SAM2 says that all remaining cases are its test; which it fits on is not published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.datasets.choices import one_of
from models.datasets.image_files import is_hidden
from models.datasets.sequences import Dataset
from models.datasets.volume_cases import Case, Cutting, open_cases
from models.errors import DatasetError
from models.types import ClassSpec
from models.volumes.grid import Grid
from models.volumes.metaimage import LPS_TO_RAS
from models.volumes.phantom import PhantomVolume

CLASSES = (ClassSpec(1, "prostate", "#3fb950"),)
HSAM_TRAIN = (5, 14, 29)
HSAM_TEST = (12, 13, 16, 20, 23, 28, 34, 35, 43, 49)


def open_promise12(root: Path, *, split: str = "none") -> Dataset:
    """Open PROMISE12. split: "none", every case may be drawn; "hsam", that paper's lists

    Raises DatasetError: no folder, no case, a case without its segmentation or a segmentation
    without its case, the same case twice, voxels missing, a segmentation that does not overlay.
    """
    one_of("split", split, ("none", "hsam"))
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in sorted(one for one in root.rglob("*.mhd") if not is_hidden(one, root)):
        match = re.fullmatch(r"(Case\d\d)(_segmentation)?", path.stem)
        if match is None:
            raise DatasetError(f"{path.name}: expected CaseNN.mhd or CaseNN_segmentation.mhd")
        kind = labels if match[2] else images
        if match[1] in kind:
            raise DatasetError(f"{path.name}: expected once below {root}, found twice")
        kind[match[1]] = path
    if not images:
        raise DatasetError(f"expected CaseNN.mhd in {root}, found none")
    if lone := sorted(images.keys() ^ labels.keys()):
        missing = f"{lone[0]}.mhd" if lone[0] in labels else f"{lone[0]}_segmentation.mhd"
        raise DatasetError(f"{lone[0]}: expected both image and segmentation, {missing} is missing")
    cases = [
        Case(name, path, labels[name], _side(name) if split == "hsam" else None)
        for name, path in images.items()
    ]
    return Dataset("promise12", root, CLASSES, open_cases(cases, Cutting({1: 1})))


def _side(name: str) -> str | None:
    number = int(name.removeprefix("Case"))
    return "train" if number in HSAM_TRAIN else "test" if number in HSAM_TEST else None


def write_promise12(volumes: Iterable[PhantomVolume], out: Path) -> Iterator[int]:
    """Write volumes in this layout, label 1 as the prostate; yields volumes written."""
    out.mkdir(parents=True, exist_ok=True)
    for number, volume in enumerate(volumes):
        name = f"Case{number:02d}"
        write_mhd(out / f"{name}.mhd", volume.voxels, volume.grid)
        prostate = (volume.labels == 1).astype(np.uint8)
        write_mhd(out / f"{name}_segmentation.mhd", prostate, volume.grid)
        yield number + 1


def write_mhd(path: Path, voxels: npt.NDArray[np.generic], grid: Grid) -> None:
    """A plain .mhd, its voxels uncompressed in a .raw beside it. voxels: int16 or uint8"""
    lps = LPS_TO_RAS @ grid.affine
    directions = (lps[:3, :3] / grid.spacing_mm).T.flatten()
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": " ".join(repr(float(value)) for value in directions),
        "Offset": " ".join(repr(float(value)) for value in lps[:3, 3]),
        "ElementSpacing": " ".join(repr(side) for side in grid.spacing_mm),
        "DimSize": " ".join(map(str, grid.shape)),
        "ElementType": {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}[str(voxels.dtype)],
        "ElementDataFile": f"{path.stem}.raw",
    }
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    path.with_suffix(".raw").write_bytes(voxels.tobytes(order="F"))

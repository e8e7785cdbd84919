"""Opens a volume by what its name ends with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.errors import VolumeError
from models.types import UInt8Array
from models.volumes.foreign import foreign_volume, how_to_convert
from models.volumes.grid import Volume

NEAR = 1e-3  # tools that resample or scale labels write 0.9999999
SUFFIXES = (".nii", ".nii.gz", ".mhd", ".mha")


def is_volume(path: Path) -> bool:
    """Is it called like a volume?"""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Its name without the format's suffix."""
    name = path.name
    longest = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(longest)]


def open_volume(path: Path) -> Volume:
    """Read a volume's header.

    Raises VolumeError: no such file, another suffix, damaged, or not three-dimensional.
    """
    if not path.is_file():
        raise VolumeError(f"expected a volume, found no file at {path}")
    foreign = foreign_volume(path)
    if not is_volume(path) or foreign == "DICOM":
        got = f", got {foreign}; {how_to_convert(foreign)}" if foreign else ""
        raise VolumeError(f"{path.name}: expected a volume ({', '.join(SUFFIXES)}){got}")
    if path.suffix.lower() in (".mhd", ".mha"):
        from models.volumes.metaimage import open_metaimage

        return open_metaimage(path)
    from models.volumes.nifti import open_nifti

    return open_nifti(path)


def read_labels(labels: Volume, image: Volume) -> UInt8Array:
    """(I, J, K) label ids of an image.

    Raises VolumeError: another shape or place than the image, or values that are no ids 0 to 255.
    """
    difference = image.grid.difference(labels.grid)
    if difference:
        raise VolumeError(f"{labels.path.name}: does not overlay {image.path.name}: {difference}")
    values = labels.read()
    near = np.rint(values)
    wrong = (near < 0) | (near > 255) | (np.abs(values - near) > NEAR)
    if wrong.any():
        first = values[wrong].flat[0]
        raise VolumeError(f"{labels.path.name}: expected label ids from 0 to 255, got {first}")
    return near.astype(np.uint8)

"""Opens a volume by what its name ends with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.errors import VolumeError
from models.types import UInt8Array
from models.volumes.grid import Volume

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
    if not is_volume(path):
        raise VolumeError(f"{path.name}: expected a volume ({', '.join(SUFFIXES)})")
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
    wrong = (values < 0) | (values > 255) | (values % 1 != 0)
    if wrong.any():
        first = values[wrong].flat[0]
        raise VolumeError(f"{labels.path.name}: expected label ids from 0 to 255, got {first}")
    return values.astype(np.uint8)

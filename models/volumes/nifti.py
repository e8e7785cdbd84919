"""NIfTI-1 and -2, by nibabel: .nii and .nii.gz (https://nifti.nimh.nih.gov/nifti-1)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError

from models.errors import VolumeError
from models.types import UInt8Array
from models.volumes.grid import Grid, Voxels, checked_grid, checked_voxels

# What nibabel raises on files that are damaged, cut short, or something else.
DAMAGED = (
    ImageFileError, ImageDataError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError,
    OverflowError, MemoryError, zlib.error,
)  # fmt: skip
PLACE = (
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units",
)  # fmt: skip
PLAIN = ("none", "estimate", "label", "dimensionless")  # NIfTI's intents of one number a voxel
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}  # others, unknown too, are millimetres


@dataclass(frozen=True)
class NiftiVolume:
    """See Volume."""

    path: Path
    grid: Grid
    image: Any  # nibabel's, whose voxels are still on disk

    @property
    def suffix(self) -> str:
        """.nii or .nii.gz"""
        return ".nii.gz" if self.path.name.lower().endswith(".gz") else ".nii"

    def read(self) -> Voxels:
        """See Volume.read: the file's own integers, or float32 where it scales them."""
        proxy = self.image.dataobj
        try:
            if (proxy.slope, proxy.inter) == (1, 0):
                voxels = np.asarray(proxy)
            else:
                voxels = self.image.get_fdata(dtype=np.float32, caching="unchanged")
        except DAMAGED as error:
            raise _refusal(self.path, error) from error
        return checked_voxels(self.path.name, voxels.reshape(self.grid.shape, order="F"))

    def write_labels(self, path: Path, labels: UInt8Array) -> None:
        """See Volume.write_labels: every field that says where voxels are is copied, bit by bit."""
        header = type(self.image.header)()
        for field in PLACE:
            header[field] = self.image.header[field]
        header["pixdim"][:4] = self.image.header["pixdim"][:4]
        header.set_data_dtype(np.uint8)
        part = path.with_name(f"part.{path.name}")
        type(self.image)(labels, None, header).to_filename(part)
        part.replace(path)


def open_nifti(path: Path) -> NiftiVolume:
    """Read the header. Raises VolumeError."""
    try:
        image: Any = nibabel.load(path, mmap=False)
        affine = np.asarray(image.affine, np.float64).copy()
        unit = image.header.get_xyzt_units()[0]
    except (*DAMAGED, KeyError) as error:
        raise _refusal(path, error) from error
    if not isinstance(image, nibabel.nifti1.Nifti1Pair):  # NIfTI-2 derives from it
        raise VolumeError(f"{path.name}: expected NIfTI, got {type(image).__name__}")
    if image.get_data_dtype().kind not in "iuf":
        raise VolumeError(f"{path.name}: expected one number a voxel, got {image.get_data_dtype()}")
    meaning = image.header.get_intent()[0]
    if meaning not in PLAIN:
        raise VolumeError(
            f"{path.name}: expected intensities or labels, its header says {meaning} (intent_code)"
        )
    affine[:3] *= MILLIMETRES.get(unit, 1.0)
    return NiftiVolume(path, checked_grid(path.name, image.shape, affine), image)


def _refusal(path: Path, error: BaseException) -> VolumeError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return VolumeError(f"{path.name}: expected a whole NIfTI volume ({reason})")

"""Where a volume's voxels are, and what every file format offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import VolumeError
from models.types import UInt8Array

Voxels = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]

MAX_VOXELS = 2**31
SAME_PLACE = 0.1  # voxels by which corners may differ: files round their affines differently


@dataclass(frozen=True)
class Grid:
    """Voxel (i, j, k) of an array (I, J, K) lies at affine @ (i, j, k, 1).

    affine: (4, 4) to millimetres, x to the patient's right, y anterior, z superior (RAS)
    """

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbours along each axis of the array."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return i, j, k

    def world(self, index: Sequence[float]) -> npt.NDArray[np.float64]:
        """(3,) millimetres of one voxel."""
        return np.asarray((self.affine @ [*index, 1])[:3])

    def difference(self, other: Grid) -> str | None:
        """What keeps `other` from overlaying on this grid; None where nothing does."""
        if self.shape != other.shape:
            return f"expected shape {_times(self.shape)}, got {_times(other.shape)}"
        corners = list(product(*((0, side - 1) for side in self.shape)))
        apart = max(float(np.linalg.norm(self.world(c) - other.world(c))) for c in corners)
        if apart > SAME_PLACE * min(self.spacing_mm):
            return f"expected the same place in the world, corners are up to {apart:.4g} mm apart"
        return None


class Volume(Protocol):
    """A volume on disk, of which only the header has been read."""

    @property
    def path(self) -> Path:
        """The file, or the header of two."""

    @property
    def grid(self) -> Grid:
        """Where its voxels are."""

    @property
    def suffix(self) -> str:
        """Of its format: .nii, .nii.gz, .mha or .mhd."""

    def read(self) -> Voxels:
        """(I, J, K) finite numbers, scaled as the file says. Raises VolumeError."""

    def write_labels(self, path: Path, labels: UInt8Array) -> None:
        """Write (I, J, K) labels in the same format, at exactly this volume's place.

        Only what says where voxels are is copied: nothing of a patient or a scanner.
        """


def checked_grid(name: str, shape: Sequence[int], affine: Affine) -> Grid:
    """The grid that a header describes; name: of the file, for messages.

    A fourth dimension of one is dropped. Raises VolumeError: not three dimensions, empty, too
    large, or an affine that cannot be inverted.
    """
    sides = [int(side) for side in shape]
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if len(sides) != 3:
        raise VolumeError(
            f"{name}: expected three dimensions, got {len(sides)} ({_times(sides) or 'none'})"
        )
    if not all(side > 0 for side in sides) or np.prod(sides, dtype=float) > MAX_VOXELS:
        raise VolumeError(f"{name}: expected 1 to {MAX_VOXELS} voxels, got {_times(sides)}")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise VolumeError(f"{name}: expected axes that span space, got {affine[:3, :3].tolist()}")
    return Grid((sides[0], sides[1], sides[2]), affine)


def checked_voxels(name: str, voxels: Voxels) -> Voxels:
    """The voxels. Raises VolumeError when some are not finite."""
    if voxels.dtype.kind == "f":
        odd = voxels.size - int(np.isfinite(voxels).sum())
        if odd:
            raise VolumeError(f"{name}: expected finite voxels, got {odd} that are NaN or infinite")
    return voxels


def _times(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))

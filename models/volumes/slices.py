"""How a volume is cut into slices, and in which order they are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nibabel.orientations import io_orientation

from models.errors import VolumeError
from models.volumes.grid import Grid

Order = Literal["middle-out", "in-order"]
SUPERIOR = 2  # of the world's axes right, anterior, superior
ALIKE = 0.95  # spacings within 5 % count as equally coarse


@dataclass(frozen=True)
class SlicePlane:
    """Which axis of the array counts slices, which become rows and columns, which are turned.

    Rows and columns run to the patient's left, posterior or inferior, as radiologists look at them:
    slices look alike however a scanner stored them. spacing_mm: between slices, rows, columns
    """

    axis: int
    rows: int
    columns: int
    turned: tuple[bool, bool]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, grid: Grid, axis: int | None = None) -> SlicePlane:
        """axis: of the array, 0 to 2; None takes the coarsest, and of equals the most upright.

        Raises VolumeError on another axis.
        """
        if axis not in (None, 0, 1, 2):
            raise VolumeError(f"expected a slice axis of 0, 1 or 2, got {axis}")
        world, sign = io_orientation(grid.affine).T
        spacing = grid.spacing_mm
        if axis is None:
            coarse = [a for a in range(3) if spacing[a] >= ALIKE * max(spacing)]
            axis = max(coarse, key=lambda a: world[a])
        columns, rows = sorted((a for a in range(3) if a != axis), key=lambda a: world[a])
        return cls(
            axis,
            rows,
            columns,
            (bool(sign[rows] > 0), bool(sign[columns] > 0)),
            (spacing[axis], spacing[rows], spacing[columns]),
        )

    def count(self, shape: tuple[int, ...]) -> int:
        """Number of slices of an (I, J, K) array."""
        return shape[self.axis]

    def cut(self, voxels: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
        """Slice `number` of an (I, J, K) array: (H, W), a view that can be written to."""
        flat = np.moveaxis(voxels, (self.axis, self.rows, self.columns), (0, 1, 2))[number]
        steps = tuple(slice(None, None, -1 if turned else None) for turned in self.turned)
        turned: npt.NDArray[Any] = flat[steps]
        return turned


def slice_order(count: int, order: Order) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two runs of slice numbers; the second starts from the state that the first slice left.

    middle-out: the middle and all after it; then all before it, backwards. in-order: one run.
    """
    if order == "in-order":
        return tuple(range(count)), ()
    middle = count // 2
    return tuple(range(middle, count)), tuple(range(middle - 1, -1, -1))

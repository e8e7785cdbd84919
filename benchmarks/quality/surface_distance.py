"""Distances between the borders of two masks, in two or three dimensions, in pixels or mm.

A border pixel is one of the mask with a neighbour across a face (4 in 2-D, 6 in 3-D) that is not in
the mask; beyond the image there is no mask. Distances are Euclidean, between centres of pixels.
Conventions are those of MONAI 1.6 (`monai.metrics`), and a test holds every figure against it:
HD is the larger of the two directed maxima, HD95 the larger of the two directed 95th percentiles,
ASSD the mean over the pixels of both borders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """From each border pixel of one mask to the nearest of the other, and back.

    there: (N,), back: (M,), neither empty; pixels, or the unit of the spacing
    """

    there: Distances
    back: Distances

    @classmethod
    def between(
        cls, one: Mask, other: Mask, spacing: Sequence[float] | None = None
    ) -> SurfaceDistances:
        """one, other: of one shape, (H, W) or (D, H, W), neither empty.

        spacing: size of a pixel along each axis, in the order of the axes; None is 1 everywhere
        """
        scale = np.ones(one.ndim) if spacing is None else np.asarray(spacing, np.float64)
        first, second = border_points(one) * scale, border_points(other) * scale
        there, _ = KDTree(second).query(first)
        back, _ = KDTree(first).query(second)
        return cls(there, back)

    @property
    def hd(self) -> float:
        """Hausdorff distance."""
        return float(max(self.there.max(), self.back.max()))

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles."""
        return float(max(np.percentile(self.there, 95), np.percentile(self.back, 95)))

    @property
    def pooled_hd95(self) -> float:
        """95th percentile of both directions' distances together, as medpy has it."""
        return float(np.percentile(np.concatenate([self.there, self.back]), 95))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance: the mean over the pixels of both borders."""
        return float((self.there.sum() + self.back.sum()) / (len(self.there) + len(self.back)))


def border_points(mask: Mask) -> npt.NDArray[np.int64]:
    """Indices of the border pixels of a mask that is not empty. (N, mask.ndim)"""
    window = _bounding_box(mask)
    inside = mask[window]
    corner = np.array([one.start for one in window], np.int64)
    points: npt.NDArray[np.int64] = np.argwhere(inside & ~binary_erosion(inside)) + corner
    return points


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds the mask; outside of it there is nothing to look at."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)

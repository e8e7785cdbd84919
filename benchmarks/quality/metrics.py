"""Segmentation metrics of one mask against another, with named rules for empty masks.

DSC, IoU, HD, HD95 and ASSD of (H, W) masks and (D, H, W) volumes; the borders' conventions are in
`benchmarks/quality/surface_distance.py`. `EmptyRule` says what counts where a mask is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np

from benchmarks.quality.surface_distance import Mask, SurfaceDistances


class EmptyRule(Enum):
    """What a metric is where truth or prediction, or both, hold nothing.

    WORST, ours: an empty mask found empty is perfect (DSC and IoU 1, distances 0); with one of the
        two empty nothing is right (DSC and IoU 0) and every distance is the diagonal of the image
    SKIP: both empty has no value at all (NaN); with one empty DSC and IoU are 0 and the distances
        have no value. Means leave NaN out (`Spread`)
    """

    WORST = "worst"
    SKIP = "skip"


@dataclass(frozen=True)
class Scores:
    """One mask against the truth. dsc, iou: 0 to 1; hd, hd95, assd: pixels or mm; NaN: no value"""

    dsc: float
    iou: float
    hd: float
    hd95: float
    assd: float


METRICS = tuple(field.name for field in fields(Scores))


def score(
    found: Mask,
    truth: Mask,
    *,
    spacing: Sequence[float] | None = None,
    empty: EmptyRule = EmptyRule.WORST,
) -> Scores:
    """Every metric of two masks of one shape.

    spacing: size of a pixel along each axis, in the order of the axes, as millimetres; None: pixels
    Raises ValueError: other shapes, a spacing that is not one positive number for each axis.
    """
    _require_comparable(found, truth, spacing)
    if not found.any() and not truth.any():
        return _of_empty(1.0, 0.0) if empty is EmptyRule.WORST else _of_empty(np.nan, np.nan)
    if not found.any() or not truth.any():
        worst = _diagonal(truth.shape, spacing)
        return _of_empty(0.0, worst if empty is EmptyRule.WORST else np.nan)
    apart = SurfaceDistances.between(found, truth, spacing)
    return Scores(dsc(found, truth), iou(found, truth), apart.hd, apart.hd95, apart.assd)


def _of_empty(overlap: float, distance: float) -> Scores:
    return Scores(overlap, overlap, distance, distance, distance)


def legacy_score(found: Mask, truth: Mask) -> Scores:
    """DSC and HD95 as TransUNet's evaluation code has them, and SAMed's and H-SAM's after it.

    For comparison with published tables only; where they say "average HD" they mean this. HD95 is
    in voxels whatever the spacing, and medpy's: the percentile of both directions together. A truth
    that is empty where something is found counts as (DSC 1, HD95 0), a full miss as (0, 0), both
    empty as (0, 0): it rewards what should cost. The other metrics have no value.
    Source: `calculate_metric_percase` in github.com/Beckschen/TransUNet, utils.py.
    """
    _require_comparable(found, truth, None)
    overlap, distance = 0.0, 0.0
    if found.any() and truth.any():
        overlap = dsc(found, truth)
        distance = SurfaceDistances.between(found, truth).pooled_hd95
    elif found.any():
        overlap = 1.0
    return Scores(overlap, np.nan, np.nan, distance, np.nan)


def dsc(found: Mask, truth: Mask) -> float:
    """Dice similarity coefficient of two masks; 1 where both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def iou(found: Mask, truth: Mask) -> float:
    """Intersection over union (Jaccard, J) of two masks; 1 where both are empty."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def hd95(found: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> float:
    """95th percentile Hausdorff distance by `EmptyRule.WORST`; pixels, or the spacing's unit."""
    return score(found, truth, spacing=spacing).hd95


def _require_comparable(found: Mask, truth: Mask, spacing: Sequence[float] | None) -> None:
    if found.shape != truth.shape:
        raise ValueError(f"expected masks of one shape, got {found.shape} and {truth.shape}")
    if spacing is not None and (len(spacing) != truth.ndim or min(spacing) <= 0):
        raise ValueError(
            f"expected a positive spacing for each of {truth.ndim} axes, got {tuple(spacing)}"
        )


def _diagonal(shape: tuple[int, ...], spacing: Sequence[float] | None) -> float:
    scale = np.ones(len(shape)) if spacing is None else np.asarray(spacing)
    return float(np.linalg.norm(np.asarray(shape) * scale))


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over units (procedures, clips), and how many there were."""

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """NaN values (a unit where the class never occurs) are left out."""
        kept = [value for value in values if value == value]
        if not kept:
            return cls(float("nan"), float("nan"), 0)
        return cls(float(np.mean(kept)), float(np.std(kept)), len(kept))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.std:.3f}" if self.count > 1 else f"{self.mean:.3f}"

"""Segmentation metrics with named rules for empty masks.

Both empty: DSC and IoU are 1, HD95 is 0. One empty: DSC and IoU are 0, HD95 is the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def dsc(found: Mask, truth: Mask) -> float:
    """Dice similarity coefficient of two (H, W) masks."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def iou(found: Mask, truth: Mask) -> float:
    """Intersection over union (Jaccard, J) of two (H, W) masks."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def hd95(found: Mask, truth: Mask) -> float:
    """95th percentile of the symmetric distances between the borders, pixels."""
    if not found.any() and not truth.any():
        return 0.0
    if not found.any() or not truth.any():
        return float(np.hypot(*truth.shape))
    one, other = _border(found), _border(truth)
    there = _distance_to(other)[one]
    back = _distance_to(one)[other]
    return float(np.percentile(np.concatenate([there, back]), 95))


def _border(mask: Mask) -> Mask:
    solid = mask.astype(np.uint8)
    eroded = cv2.erode(solid, np.ones((3, 3), np.uint8), borderValue=0)
    return np.asarray((solid - eroded) > 0)


def _distance_to(border: Mask) -> npt.NDArray[np.float32]:
    free = (~border).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


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
        return f"{self.mean:.3f} ± {self.std:.3f}"

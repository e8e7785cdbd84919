"""Reads an overlay back from the pixels on display: which of them carry the tint of a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.types import ClassSpec, UInt8Array
from streaming.overlay import OverlayStyle, parse_color

Mask = npt.NDArray[np.bool_]


def tinted(shown: UInt8Array, plain: UInt8Array, classes: Sequence[ClassSpec]) -> Mask:
    """Pixels of `shown` that lie nearer to `plain` under a class's tint than to `plain`. (H, W)

    shown = plain + a * (color - plain) defines the strength a: 0 without a tint, the style's
    opacity under it. A pixel counts from half the opacity on, if what the tint leaves unexplained
    is smaller than what it explains: the boxes behind names are no tint.
    """
    change = shown.astype(np.float32) - plain
    found = np.zeros(shown.shape[:2], bool)
    for spec in classes:
        towards = np.asarray(parse_color(spec.color), np.float32) - plain
        length = np.maximum((towards**2).sum(axis=2), 1.0)
        strength = (change * towards).sum(axis=2) / length
        left = ((change - strength[..., None] * towards) ** 2).sum(axis=2)
        explained = strength**2 * length
        found |= (strength > OverlayStyle().opacity / 2) & (left < explained)
    return found


def iou(found: Mask, truth: Mask) -> float | None:
    """None where there is next to nothing to compare."""
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union > 200 else None

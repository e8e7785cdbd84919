"""Small regions that are no instrument: those of which the instance head is nowhere sure.

A region that lies where one was believed a frame ago is believed more easily, or what is seen of an
instrument at the picture's edge would come and go. Not in the paper; docs/method.md has what it is
worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mask = npt.NDArray[np.bool_]

SMALL = 0.025  # of the picture; a region as large as this is believed anyhow
SAME = 0.3  # of a region's pixels that were believed a frame ago: it is still there


@dataclass(frozen=True)
class RegionRule:
    """The head's logit that a small region needs somewhere; and where one was a frame ago"""

    sure: float = 5.0
    still_sure: float = 3.0


STRICT = RegionRule()
LAX = RegionRule(2.0, 1.0)  # of a head adapted to the annotated pictures, where no name is at stake


def rule_for(classes: int, *, adapted: bool) -> RegionRule:
    """The rule for a profile with so many classes; adapted: with a head of its own"""
    return LAX if adapted and classes == 1 else STRICT


class SmallRegions:
    """Takes them out of one stream's frames."""

    def __init__(self, rule: RegionRule = STRICT) -> None:
        self._rule = rule
        self.believed: Mask | None = None  # (H, W) in the frame before; replaced, never changed

    def reset(self) -> None:
        """Forget the frame before."""
        self.believed = None

    def filtered(self, instrument: Tensor, own: Tensor) -> Tensor:
        """The next frame without them. (H, W) logits both, own: of the head -> (H, W)"""
        mask = (instrument > 0).cpu().numpy()
        count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        label = np.asarray(labels, np.int64)
        flat, logit = label.ravel(), own.cpu().numpy().ravel()
        area = np.bincount(flat, minlength=count)
        needed = np.full(count, self._rule.sure)
        if self.believed is not None:
            still = np.bincount(flat, self.believed.ravel(), minlength=count)
            needed[still >= SAME * np.maximum(area, 1)] = self._rule.still_sure
        sure = np.bincount(flat, logit >= needed[flat], minlength=count)
        speck = (area < SMALL * mask.size) & (sure == 0)
        speck[0] = False
        out = speck[label]
        self.believed = mask & ~out
        return torch.where(torch.from_numpy(out).to(own.device), -instrument.abs() - 1, instrument)

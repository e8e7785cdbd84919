"""Small regions that are no instrument: those of which the instance head is nowhere sure.

A region that lies where one was believed a frame ago is believed more easily, or what is seen of an
instrument at the picture's edge would come and go. Not in the paper; docs/method.md has what it is
worth.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mask = npt.NDArray[np.bool_]

SMALL = 0.025  # of the picture; a region as large as this is believed anyhow
SURE, STILL_SURE = 5.0, 3.0  # the head's logit that a small one needs somewhere; where one was
SAME = 0.3  # of a region's pixels that were believed a frame ago: it is still there


class SmallRegions:
    """Takes them out of one stream's frames."""

    def __init__(self) -> None:
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
        needed = np.full(count, SURE)
        if self.believed is not None:
            still = np.bincount(flat, self.believed.ravel(), minlength=count)
            needed[still >= SAME * np.maximum(area, 1)] = STILL_SURE
        sure = np.bincount(flat, logit >= needed[flat], minlength=count)
        speck = (area < SMALL * mask.size) & (sure == 0)
        speck[0] = False
        out = speck[label]
        self.believed = mask & ~out
        return torch.where(torch.from_numpy(out).to(own.device), -instrument.abs() - 1, instrument)

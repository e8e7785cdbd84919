"""The masks of one frame, whichever way they came about."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone.sam2 import NO_OBJECT_LOGIT, DecodedMasks


@dataclass(frozen=True)
class Prediction:
    """The masks of C classes.

    mask_logits: (C, 1, 4h, 4w); object_logit: (C,) positive where the class is in the frame
    raw: (C,) confidence before calibration
    unnamed: (1, 4h, 4w) logits of what is an instrument and of no class; None: nothing ever is
    """

    mask_logits: Tensor
    object_logit: Tensor
    raw: Tensor
    unnamed: Tensor | None = None

    @classmethod
    def of(cls, decoded: DecodedMasks, certainty: Tensor | float = 1.0) -> Prediction:
        """The decoder's own; raw is predicted IoU times object score times certainty, (C,)."""
        raw = decoded.iou * decoded.object_logit.sigmoid() * certainty
        return cls(decoded.mask_logits, decoded.object_logit, raw)

    def gated(self) -> Tensor:
        """Mask logits with absent classes emptied. (C, 1, 4h, 4w)"""
        present = (self.object_logit > 0)[:, None, None, None]
        return torch.where(present, self.mask_logits, NO_OBJECT_LOGIT)

"""From the masks of a frame to what leaves the tracker: plain numbers and a map of classes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.backbone.image_input import MAX_MAP_SIDE, class_map
from models.backbone.prediction import Prediction
from models.engines.gpu.class_maps import (
    class_shares,
    decide_classes,
    enlarge_classes,
    read,
)
from models.method.profile import Calibration
from models.types import UNNAMED_ID, UInt8Array

KEPT_IDS = 16  # tuples of class ids that stay on a device; a stream has one


@dataclass(frozen=True)
class Postprocessed:
    """One frame's answer, off the device.

    class_map: (H, W) uint8; present: (C,) bool; confidence, area: (C,) 0 to 1
    """

    class_map: UInt8Array
    present: list[bool]
    confidence: list[float]
    area: list[float]


def postprocess(
    prediction: Prediction,
    calibration: Calibration,
    class_ids: Sequence[int],
    shape: tuple[int, int],
    *,
    on_device: bool = False,
) -> Postprocessed | None:
    """None: the answer is not a number. shape: (H, W) of the picture

    on_device: draw classes where the answer is, not by OpenCV
    """
    confidence = calibration(prediction.raw)
    present = (prediction.object_logit > 0) & (prediction.mask_logits.amax(dim=(1, 2, 3)) > 0)
    if on_device:
        return _on_device(prediction, present, confidence, class_ids, shape)
    if not all(bool(torch.isfinite(one).all()) for one in (prediction.mask_logits, prediction.raw)):
        return None
    rows = torch.nonzero(present).flatten().tolist()
    logits, ids = prediction.mask_logits[rows, 0], [class_ids[row] for row in rows]
    if prediction.unnamed is not None:
        logits, ids = torch.cat([logits, prediction.unnamed]), [*ids, UNNAMED_ID]
    classes = class_map(logits.float().numpy(), ids, shape)
    area = [int(np.count_nonzero(classes == one)) / classes.size for one in class_ids]
    return Postprocessed(classes, present.tolist(), confidence.tolist(), area)


def _on_device(
    prediction: Prediction,
    present: Tensor,
    confidence: Tensor,
    class_ids: Sequence[int],
    shape: tuple[int, int],
) -> Postprocessed | None:
    """All of it there, and waited for once."""
    logits = prediction.mask_logits[:, 0].float()
    ids = _on(tuple(class_ids), logits.device)
    shown = torch.where(present[:, None, None], logits, -1.0)
    drawn = ids
    if prediction.unnamed is not None:
        shown = torch.cat([shown, prediction.unnamed.float()])
        drawn = _on((*class_ids, UNNAMED_ID), logits.device)
    decided = decide_classes(shown, drawn, shape, MAX_MAP_SIDE)
    area = class_shares(decided, ids, shape)
    # A sum is a number only if everything in it is.
    total = (logits.sum() + prediction.raw.sum())[None]
    said = torch.cat([total, present.float(), confidence.float(), area])
    numbers, found = read(said, enlarge_classes(decided, shape))
    sound, *each = numbers.tolist()
    if not math.isfinite(sound):
        return None
    rows = len(class_ids)
    there, sure, shares = [one > 0 for one in each[:rows]], each[rows : 2 * rows], each[2 * rows :]
    return Postprocessed(found.numpy(), there, sure, shares)


@functools.lru_cache(maxsize=KEPT_IDS)
def _on(class_ids: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(class_ids, dtype=torch.uint8, device=device)

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
from models.engines.gpu.class_maps import (
    decided_on_device,
    enlarged_on_device,
    read,
    shares_on_device,
)
from models.method.profile import Calibration
from models.tracking.strategy import Answer
from models.types import UNNAMED_ID, UInt8Array

KEPT_IDS = 16  # tuples of class ids that stay on a device; a stream has one


@dataclass(frozen=True)
class Finished:
    """One frame's answer, off the device.

    class_map: (H, W) uint8; present: (C,) bool; confidence, area: (C,) 0 to 1
    learnable: what a lesson would take from the frame is numbers
    """

    class_map: UInt8Array
    present: list[bool]
    confidence: list[float]
    area: list[float]
    learnable: bool


def finish(
    answer: Answer,
    calibration: Calibration,
    class_ids: Sequence[int],
    shape: tuple[int, int],
    *,
    on_device: bool = False,
) -> Finished | None:
    """None: the answer is not a number. shape: (H, W) of the picture

    on_device: draw classes where the answer is, not by OpenCV
    """
    confidence = calibration(answer.raw)
    present = (answer.object_logit > 0) & (answer.mask_logits.amax(dim=(1, 2, 3)) > 0)
    if on_device:
        return _on_device(answer, present, confidence, class_ids, shape)
    if not all(bool(torch.isfinite(one).all()) for one in (answer.mask_logits, answer.raw)):
        return None
    rows = torch.nonzero(present).flatten().tolist()
    logits, ids = answer.mask_logits[rows, 0], [class_ids[row] for row in rows]
    if answer.unnamed is not None:
        logits, ids = torch.cat([logits, answer.unnamed]), [*ids, UNNAMED_ID]
    classes = class_map(logits.float().numpy(), ids, shape)
    area = [int(np.count_nonzero(classes == one)) / classes.size for one in class_ids]
    learnable = math.isfinite(float(_evidence(answer).sum()))
    return Finished(classes, present.tolist(), confidence.tolist(), area, learnable)


def _on_device(
    answer: Answer,
    present: Tensor,
    confidence: Tensor,
    class_ids: Sequence[int],
    shape: tuple[int, int],
) -> Finished | None:
    """All of it there, and waited for once."""
    logits = answer.mask_logits[:, 0].float()
    ids = _on(tuple(class_ids), logits.device)
    shown = torch.where(present[:, None, None], logits, -1.0)
    drawn = ids
    if answer.unnamed is not None:
        shown = torch.cat([shown, answer.unnamed.float()])
        drawn = _on((*class_ids, UNNAMED_ID), logits.device)
    decided = decided_on_device(shown, drawn, shape, MAX_MAP_SIDE)
    area = shares_on_device(decided, ids, shape)
    # A sum is a number only if everything in it is.
    sums = torch.stack([logits.sum() + answer.raw.sum(), _evidence(answer).sum()])
    said = torch.cat([sums, present.float(), confidence.float(), area])
    numbers, found = read(said, enlarged_on_device(decided, shape))
    sound, evidence, *each = numbers.tolist()
    if not math.isfinite(sound):
        return None
    rows = len(class_ids)
    there, sure, shares = [one > 0 for one in each[:rows]], each[rows : 2 * rows], each[2 * rows :]
    return Finished(found.numpy(), there, sure, shares, math.isfinite(evidence))


def _evidence(answer: Answer) -> Tensor:
    """Where a way has none, what is known to be numbers already."""
    return answer.raw if answer.evidence is None else answer.evidence


@functools.lru_cache(maxsize=KEPT_IDS)
def _on(class_ids: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(class_ids, dtype=torch.uint8, device=device)

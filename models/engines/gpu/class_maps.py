"""A picture's bytes to a GPU, and masks back to the picture there.

What `image_input.py` does by OpenCV, as look-ups and sums of tensors: a 1080p frame that is named
on the processor costs as much as the network does on a large GPU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.types import UInt8Array

KEPT_SIZES = 16  # pairs of lengths whose look-ups are kept; a stream has two


def page_locked(image_rgb: UInt8Array) -> Tensor:
    """(H, W, 3) uint8 where a device fetches it quickly and without being waited for."""
    picture = torch.from_numpy(np.require(image_rgb, np.uint8, ["C", "W"]))
    return picture.pin_memory() if torch.cuda.is_available() else picture


def decide_classes(
    mask_logits: Tensor, class_ids: Tensor, shape: tuple[int, int], most: int
) -> Tensor:
    """The winning class of each pixel, 0 where no logit is positive; as `class_map` decides.

    mask_logits: (C, h, w); class_ids: (C,) uint8; shape: (H, W) of the picture
    most: the longest side of the map; returns uint8, of the picture's shape or smaller
    """
    scale = min(1.0, most / max(shape))
    size = [max(1, round(side * scale)) for side in shape]
    best, row = F.interpolate(mask_logits[None], size, mode="bilinear")[0].max(dim=0)
    winner: Tensor = class_ids[row] * (best > 0)
    return winner


def enlarge_classes(decided: Tensor, shape: tuple[int, int]) -> Tensor:
    """Each pixel of the picture takes the nearest one. decided: by `decide_classes`"""
    for axis, side in enumerate(shape):
        if decided.shape[axis] != side:
            repeated = _repeated(side, decided.shape[axis], decided.device)
            decided = decided.index_select(axis, repeated.place)
    return decided


def class_shares(decided: Tensor, class_ids: Tensor, shape: tuple[int, int]) -> Tensor:
    """The share of the picture's pixels that each class has once it is enlarged, (C,)."""
    down, across = (
        _repeated(side, small, decided.device).times
        for side, small in zip(shape, decided.shape, strict=True)
    )
    own = (decided == class_ids[:, None, None]).float()
    return (own @ across) @ down / (shape[0] * shape[1])


def read(*tensors: Tensor) -> list[Tensor]:
    """Copies on the processor; waits for the device once."""
    copies = [one.to("cpu", non_blocking=True) for one in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return copies


@dataclass(frozen=True)
class _Repeated:
    """place: (side,) long, which small pixel each takes; times: (small,) float, how often each"""

    place: Tensor
    times: Tensor


@functools.lru_cache(maxsize=KEPT_SIZES)
def _repeated(side: int, small: int, device: torch.device) -> _Repeated:
    place = torch.arange(side) * small // side
    times = torch.bincount(place, minlength=small).float()
    return _Repeated(place.to(device), times.to(device))

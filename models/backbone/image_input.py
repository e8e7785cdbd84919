"""From a picture of any size to the network's square input, and masks back to the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.types import UInt8Array

MAX_MAP_SIDE = 960


def to_input(image_rgb: UInt8Array, size: int) -> Tensor:
    """(H, W, 3) uint8 RGB -> (1, 3, size, size) float 0 to 255, resized to a square as in SAM2."""
    square = torch.from_numpy(resize_image(image_rgb, size))
    return square.permute(2, 0, 1)[None].contiguous().float()  # in order, or every reader copies


def resize_image(image_rgb: UInt8Array, size: int) -> UInt8Array:
    """(H, W, 3) uint8 -> (size, size, 3) uint8, area-averaged when shrinking.

    A picture of four times the size and more is halved first. That is the same average but for the
    pixels that two tokens share (0.2 grey levels on average), in less than half of the time.
    """
    height, width = image_rgb.shape[:2]
    while min(height, width) >= 4 * size:
        height, width = height // 2, width // 2
        halved = cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_AREA)
        image_rgb = np.asarray(halved, dtype=np.uint8)
    shrinks = height >= size and width >= size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_rgb, (size, size), interpolation=way), dtype=np.uint8)


def resize_mask(mask: UInt8Array, size: int) -> UInt8Array:
    """(H, W) uint8 0 or 1 -> (size, size) uint8 0 or 1, majority of the area."""
    if mask.shape == (size, size):
        return mask
    way = cv2.INTER_AREA if min(mask.shape) >= size else cv2.INTER_LINEAR
    share = cv2.resize(mask.astype(np.float32), (size, size), interpolation=way)
    return np.asarray(share > 0.5, dtype=np.uint8)


@dataclass(frozen=True)
class _Span:
    """A stretch of pixels, and the stretch it becomes when all are enlarged."""

    small: slice
    large: slice


def _span(positive: npt.NDArray[np.bool_], side: int) -> _Span:
    """All that may be positive after enlarging linearly to `side` pixels, cut where pixels meet.

    Enlarging the stretch alone gives what enlarging all gives: it begins and ends on the edge of
    a pixel both small and large, and beyond its outermost pixels nothing is positive.
    """
    places, length = np.flatnonzero(positive), len(positive)
    block = length // math.gcd(length, side)
    first = max(int(places[0]) - 1, 0) // block * block
    last = min(-(-(int(places[-1]) + 2) // block) * block, length)
    return _Span(slice(first, last), slice(first * side // length, last * side // length))


def class_map(
    mask_logits: npt.NDArray[np.float32], class_ids: list[int], shape: tuple[int, int]
) -> UInt8Array:
    """The winning class of each pixel, 0 where no logit is positive.

    mask_logits: (n, h, w) real; class_ids: n ids; shape: (H, W) of the picture
    returns: (H, W) uint8. Beyond 960 pixels a side the map is decided at that size and enlarged:
    the logits have a 64th of the picture's side, so nothing finer is known.
    """
    scale = min(1.0, MAX_MAP_SIDE / max(shape))
    height, width = (max(1, round(side * scale)) for side in shape)
    best = np.zeros((height, width), np.float32)
    ids = np.zeros((height, width), np.uint8)
    seen = [pair for pair in zip(mask_logits, class_ids, strict=True) if pair[0].max() > 0]
    for logits, class_id in seen:
        down, across = (
            _span((logits > 0).any(axis=1), height),
            _span((logits > 0).any(axis=0), width),
        )
        best_here, ids_here = (one[down.large, across.large] for one in (best, ids))
        small = logits[down.small, across.small]
        large = cv2.resize(small, best_here.shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.copyto(ids_here, class_id, where=large > best_here)
        np.maximum(best_here, large, out=best_here)
    if (height, width) == shape:
        return ids
    enlarged = cv2.resize(ids, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged, dtype=np.uint8)

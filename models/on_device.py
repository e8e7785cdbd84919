"""A picture to the network's input and masks back to the picture, on a GPU.

What `preprocess.py` does by OpenCV, as look-ups and sums of tensors: a 1080p frame that is
resized on the processor and named there costs as much as the network does on a large GPU.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.types import UInt8Array

KEPT_SIZES = 16  # lengths whose weights are kept; a stream has two


def page_locked(image_rgb: UInt8Array) -> Tensor:
    """(H, W, 3) uint8 where a device fetches it quickly and without being waited for."""
    picture = torch.from_numpy(np.require(image_rgb, np.uint8, ["C", "W"]))
    return picture.pin_memory() if torch.cuda.is_available() else picture


def squeezed(picture: Tensor, size: int) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, size, size) float, whole numbers 0 to 255; as `resize_image`.

    One pixel in a thousand is a grey level off where OpenCV enlarges, more where it halves first.
    """
    height, width = picture.shape[:2]
    shrinks = height >= size and width >= size
    if shrinks and picture.is_cuda:
        from models.picture_kernel import shrunk

        return shrunk(picture, *(_taps(side, size, picture.device) for side in (height, width)))
    square = _averaged(picture, size) if shrinks else _enlarged(picture, size)
    return square.permute(2, 0, 1)[None].contiguous()


def _averaged(picture: Tensor, size: int) -> Tensor:
    """By area. (H, W, 3) uint8 -> (size, size, 3) float"""
    down, across = (_taps(side, size, picture.device) for side in picture.shape[:2])
    (place, weight), *others = zip(down.place, down.weight, strict=True)
    rows: Tensor = picture[place] * weight[:, None, None]
    for place, weight in others:
        rows.addcmul_(picture[place], weight[:, None, None])
    (place, weight), *others = zip(across.place, across.weight, strict=True)
    both: Tensor = rows[:, place] * weight[:, None]
    for place, weight in others:
        both.addcmul_(rows[:, place], weight[:, None])
    return both.round()


def _enlarged(picture: Tensor, size: int) -> Tensor:
    """Linearly, in OpenCV's fixed point of eleven bits. (H, W, 3) uint8 -> (size, size, 3) float"""
    down, across = (_neighbours(side, size, picture.device) for side in picture.shape[:2])
    each = zip(across.place, across.weight, strict=True)
    left, right = (picture[:, place].int() * weight[:, None] for place, weight in each)
    rows = (left + right) >> 4
    each = zip(down.place, down.weight, strict=True)
    above, below = ((rows[place] * weight[:, None, None]) >> 16 for place, weight in each)
    square: Tensor = ((above + below + 2) >> 2).float()
    return square


def decided_on_device(
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


def enlarged_on_device(decided: Tensor, shape: tuple[int, int]) -> Tensor:
    """Each pixel of the picture takes the nearest one. decided: by `decided_on_device`"""
    for axis, side in enumerate(shape):
        if decided.shape[axis] != side:
            repeated = _repeated(side, decided.shape[axis], decided.device)
            decided = decided.index_select(axis, repeated.place)
    return decided


def shares_on_device(decided: Tensor, class_ids: Tensor, shape: tuple[int, int]) -> Tensor:
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
class Taps:
    """What new pixels take of old ones, T each. place: (T, size) long; weight: (T, size)"""

    place: Tensor
    weight: Tensor

    def on(self, device: torch.device) -> Taps:
        """The same there."""
        return Taps(self.place.to(device), self.weight.to(device))


@functools.lru_cache(maxsize=KEPT_SIZES)
def _taps(length: int, size: int, device: torch.device) -> Taps:
    """Those that they cover, by the share that they cover."""
    scale = length / size
    new, old = torch.arange(size)[:, None].double(), torch.arange(length)[None].double()
    end = torch.minimum((new + 1) * scale, old + 1)
    weights = (end - torch.maximum(new * scale, old)).clamp_min(0) / scale
    count = int((weights > 0).sum(dim=1).max())
    share, place = weights.topk(count, dim=1)
    return Taps(place.T.contiguous(), share.T.float().contiguous()).on(device)


@functools.lru_cache(maxsize=KEPT_SIZES)
def _neighbours(length: int, size: int, device: torch.device) -> Taps:
    """The two around each new one's centre, those at the edge repeated; in 2048ths, whole ones."""
    place = ((torch.arange(size).double() + 0.5) * length / size - 0.5).clamp(0, length - 1)
    first = place.floor().long()
    second = (first + 1).clamp_max(length - 1)
    share = (place - first).float()
    weight = torch.stack([1 - share, share])
    return Taps(torch.stack([first, second]), (weight * 2048).round().int()).on(device)


@dataclass(frozen=True)
class _Repeated:
    """place: (side,) long, which small pixel each takes; times: (small,) float, how often each"""

    place: Tensor
    times: Tensor


@functools.lru_cache(maxsize=KEPT_SIZES)
def _repeated(side: int, small: int, device: torch.device) -> _Repeated:
    with torch.inference_mode(False):
        place = torch.arange(side) * small // side
        times = torch.bincount(place, minlength=small).float()
        return _Repeated(place.to(device), times.to(device))

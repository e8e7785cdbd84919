"""A picture to the network's input and masks back to the picture, on a GPU.

What `preprocess.py` does by OpenCV, as look-ups and sums of tensors: a 1080p frame that is
resized on the processor and named there costs as much as the network does on a large GPU.
"""

from __future__ import annotations

import functools

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
    square = _averaged(picture, size) if shrinks else _enlarged(picture, size)
    return square.permute(2, 0, 1)[None].contiguous()


def _averaged(picture: Tensor, size: int) -> Tensor:
    """By area. (H, W, 3) uint8 -> (size, size, 3) float"""
    down, across = (_taps(side, size, picture.device) for side in picture.shape[:2])
    (place, weight), *others = down
    rows = picture[place] * weight[:, None, None]
    for place, weight in others:
        rows.addcmul_(picture[place], weight[:, None, None])
    (place, weight), *others = across
    both = rows[:, place] * weight[:, None]
    for place, weight in others:
        both.addcmul_(rows[:, place], weight[:, None])
    return both.round()


def _enlarged(picture: Tensor, size: int) -> Tensor:
    """Linearly, in OpenCV's fixed point of eleven bits. (H, W, 3) uint8 -> (size, size, 3) float"""
    down, across = (_neighbours(side, size, picture.device) for side in picture.shape[:2])
    left, right = (picture[:, place].int() * weight[:, None] for place, weight in across)
    rows = (left + right) >> 4
    above, below = ((rows[place] * weight[:, None, None]) >> 16 for place, weight in down)
    return ((above + below + 2) >> 2).float()


def class_map_on_device(
    mask_logits: Tensor, class_ids: Tensor, shape: tuple[int, int], most: int
) -> Tensor:
    """The winning class of each pixel, 0 where no logit is positive; as `class_map`.

    mask_logits: (C, h, w); class_ids: (C,) uint8; shape: (H, W) of the picture
    most: a larger side than this is enlarged from a map with such a side; returns (H, W) uint8
    """
    scale = min(1.0, most / max(shape))
    height, width = (max(1, round(side * scale)) for side in shape)
    large = F.interpolate(mask_logits[None], (height, width), mode="bilinear")[0]
    best, row = large.max(dim=0)
    ids = class_ids[row] * (best > 0)
    if (height, width) == shape:
        return ids
    down, across = (
        torch.arange(side, device=ids.device) * small // side
        for side, small in zip(shape, (height, width), strict=True)
    )
    return ids[down[:, None], across]


def read(*tensors: Tensor) -> list[Tensor]:
    """Copies on the processor; waits for the device once."""
    copies = [one.to("cpu", non_blocking=True) for one in tensors]
    if tensors[0].is_cuda:
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return copies


_Tap = tuple[Tensor, Tensor]  # (size,) long, which old pixel each new one takes; (size,) how much


@functools.lru_cache(maxsize=KEPT_SIZES)
def _taps(length: int, size: int, device: torch.device) -> tuple[_Tap, ...]:
    """What new pixels take of the old ones that they cover: the first of each, the second, ..."""
    scale = length / size
    new, old = torch.arange(size)[:, None].double(), torch.arange(length)[None].double()
    end = torch.minimum((new + 1) * scale, old + 1)
    weights = (end - torch.maximum(new * scale, old)).clamp_min(0) / scale
    count = int((weights > 0).sum(dim=1).max())
    share, place = weights.topk(count, dim=1)
    each = zip(place.T.contiguous(), share.T.float().contiguous(), strict=True)
    return tuple((one.to(device), weight.to(device)) for one, weight in each)


@functools.lru_cache(maxsize=KEPT_SIZES)
def _neighbours(length: int, size: int, device: torch.device) -> tuple[_Tap, _Tap]:
    """The two old pixels around each new one's centre, those at the edge repeated; in 2048ths."""
    place = ((torch.arange(size).double() + 0.5) * length / size - 0.5).clamp(0, length - 1)
    first = place.floor().long()
    second = (first + 1).clamp_max(length - 1)
    share = (place - first).float()
    weights = ((one * 2048).round().int() for one in (1 - share, share))
    one, other = zip((first, second), weights, strict=True)
    return (one[0].to(device), one[1].to(device)), (other[0].to(device), other[1].to(device))

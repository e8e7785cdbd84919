"""A picture of any size to the network's square input, where a GPU has its bytes.

What `resize_image` of `image_input.py` does by OpenCV: a 1080p frame that is resized on the
processor costs as much as the network does on a large GPU. Shrinking is one kernel where Triton is
(`picture_kernel.py`), else look-ups and sums of tensors.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone.gpu_attention import why_no_kernels
from models.engines.gpu.taps import Taps

KEPT_SIZES = 16  # sizes of pictures, in the process


@dataclass(frozen=True)
class Resize:
    """Pictures of one size to a square: (H, W, 3) uint8 -> (1, 3, S, S) float, whole numbers.

    down, across: of rows and columns; shrinks: by area, else linearly
    Who records a call keeps this as long: a recorded step reads the taps where they are.
    One pixel in a thousand is a grey level off where OpenCV enlarges, more where it halves first.
    """

    down: Taps
    across: Taps
    shrinks: bool

    def __call__(self, picture: Tensor) -> Tensor:
        """0 to 255."""
        if self.shrinks and picture.is_cuda and why_no_kernels() is None:
            from models.engines.gpu.picture_kernel import shrunk

            return shrunk(picture, self.down, self.across)
        square = self._averaged(picture) if self.shrinks else self._enlarged(picture)
        return square.permute(2, 0, 1)[None].contiguous()

    def _averaged(self, picture: Tensor) -> Tensor:
        """By area. (H, W, 3) uint8 -> (S, S, 3) float"""
        (place, weight), *others = zip(self.down.place, self.down.weight, strict=True)
        rows: Tensor = picture[place] * weight[:, None, None]
        for place, weight in others:
            rows.addcmul_(picture[place], weight[:, None, None])
        (place, weight), *others = zip(self.across.place, self.across.weight, strict=True)
        both: Tensor = rows[:, place] * weight[:, None]
        for place, weight in others:
            both.addcmul_(rows[:, place], weight[:, None])
        return both.round()

    def _enlarged(self, picture: Tensor) -> Tensor:
        """Linearly, in OpenCV's fixed point of eleven bits. (H, W, 3) uint8 -> (S, S, 3) float"""
        each = zip(self.across.place, self.across.weight, strict=True)
        left, right = (picture[:, place].int() * weight[:, None] for place, weight in each)
        rows = (left + right) >> 4
        each = zip(self.down.place, self.down.weight, strict=True)
        above, below = ((rows[place] * weight[:, None, None]) >> 16 for place, weight in each)
        square: Tensor = ((above + below + 2) >> 2).float()
        return square


@functools.lru_cache(maxsize=KEPT_SIZES)
def resize_for(shape: tuple[int, int], size: int, device: torch.device) -> Resize:
    """Of pictures of this shape, (H, W), to squares of this size."""
    shrinks = min(shape) >= size
    down, across = ((_covered if shrinks else _neighbours)(side, size).on(device) for side in shape)
    return Resize(down, across, shrinks)


def _covered(length: int, size: int) -> Taps:
    """The old pixels that new ones cover, by the share that they cover."""
    scale = length / size
    new, old = torch.arange(size)[:, None].double(), torch.arange(length)[None].double()
    end = torch.minimum((new + 1) * scale, old + 1)
    weights = (end - torch.maximum(new * scale, old)).clamp_min(0) / scale
    count = int((weights > 0).sum(dim=1).max())
    share, place = weights.topk(count, dim=1)
    return Taps(place.T.contiguous(), share.T.float().contiguous())


def _neighbours(length: int, size: int) -> Taps:
    """The two around each new one's centre, those at the edge repeated; in 2048ths, whole ones."""
    place = ((torch.arange(size).double() + 0.5) * length / size - 0.5).clamp(0, length - 1)
    first = place.floor().long()
    second = (first + 1).clamp_max(length - 1)
    share = (place - first).float()
    weight = torch.stack([1 - share, share])
    return Taps(torch.stack([first, second]), (weight * 2048).round().int())

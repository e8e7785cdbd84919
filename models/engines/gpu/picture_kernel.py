"""A picture's bytes to the network's square input in one kernel for GPUs (Triton)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.engines.gpu.taps import Taps

BLOCK = 128
CHANNELS = 3


@triton.jit  # type: ignore[untyped-decorator]
def _shrink(  # type: ignore[no-untyped-def]
    picture, row, row_weight, column, column_weight, out, width, size,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, COLORS: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """One stretch of a line of one colour: ROWS x COLUMNS old pixels, weighted, for each new one"""
    line, color = tl.program_id(1), tl.program_id(2)
    x = tl.program_id(0) * BLOCK_X + tl.arange(0, BLOCK_X)
    inside = x < size
    both = tl.zeros((BLOCK_X,), tl.float32)
    for across in range(COLUMNS):
        at = tl.load(column + across * size + x, inside, 0)
        stretch = tl.zeros((BLOCK_X,), tl.float32)
        for down in range(ROWS):
            above = tl.load(row + down * size + line) * width
            old = tl.load(picture + (above + at) * COLORS + color, inside, 0)
            stretch += old.to(tl.float32) * tl.load(row_weight + down * size + line)
        both += stretch * tl.load(column_weight + across * size + x, inside, 0.0)
    whole = (both + 12582912.0) - 12582912.0  # 1.5 * 2**23: to the nearest, halves to the even one
    tl.store(out + (color * size + line) * size + x, whole, inside)


def shrunk(picture: Tensor, down: Taps, across: Taps) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, S, S) float, whole numbers; taps: of the rows and of the columns"""
    picture, size = picture.contiguous(), down.place.shape[1]
    out = torch.empty(1, CHANNELS, size, size, device=picture.device)
    _shrink[triton.cdiv(size, BLOCK), size, CHANNELS](
        picture, down.place, down.weight, across.place, across.weight, out, picture.shape[1], size,
        ROWS=len(down.place), COLUMNS=len(across.place), COLORS=CHANNELS, BLOCK_X=BLOCK,
    )  # fmt: skip
    return out

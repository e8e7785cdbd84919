"""The colour under each token, and averages over windows of tokens, as products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def token_color(image: Tensor, grid: int) -> Tensor:
    """Mean and spread of the colour under each token. (B, 3, S, S) -> (B, 6, grid, grid)"""
    return moments_color(color_moments(image, grid))


def color_moments(image: Tensor, grid: int) -> Tensor:
    """Means of the colours and of their squares. (B, 3, S, S) -> (B, 6, grid, grid)"""
    return torch.cat([pooled(image, grid), pooled(image.square(), grid)], dim=1)


def moments_color(moments: Tensor) -> Tensor:
    """Mean and spread from the means of the colours and of their squares. (B, 6, h, w)"""
    mean, square = moments[:, :3], moments[:, 3:]
    return torch.cat([mean, (square - mean.square()).clamp_min(1e-6).sqrt()], dim=1)


def pooled(value: Tensor, grid: int) -> Tensor:
    """Average pooling as two products, several times as fast. (B, d, S, S) -> (B, d, grid, grid)"""
    size = int(value.shape[-1])
    owner = torch.arange(size, device=value.device) // (size // grid)
    share = (owner == torch.arange(grid, device=value.device)[:, None]).to(value.dtype)
    share = share / (size // grid)
    return share @ (value @ share.T)


def window_mean(value: Tensor, side: int, *, whole: bool = True) -> Tensor:
    """Average over a square window around every token, across and then down, as two products.

    value: (B, d, h, w); side: odd; whole: divide by the tokens inside the map, not by the window
    """
    height, width = value.shape[-2:]
    across, down = _band(value, width, side, whole), _band(value, height, side, whole)
    return down @ (value @ across.T)


def _band(like: Tensor, length: int, side: int, whole: bool) -> Tensor:
    """(length, length): row i averages what is within side / 2 of i."""
    place = torch.arange(length, device=like.device)
    near = ((place[:, None] - place).abs() <= side // 2).to(like.dtype)
    return near / (near.sum(dim=1, keepdim=True) if whole else side)

"""Which instrument does a pixel belong to? A small head on the frozen trunk's features.

Each pixel says whether it is instrument, and votes for where its instrument is: the point where
the shaft ends and the direction it points in, so that instruments that touch or cross still vote
apart and one that is cut in two by another votes as one. A few free dimensions let looks help. The
head also describes a region (an instrument) by a short unit vector in which instruments of one kind
lie close together across the clips of a procedure. Trained on phantoms alone, see
`parting_training.py`; docs/method.md has what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone import ImageFeatures
from models.mapper import color_moments, moments_color, pooled

COARSE, MIDDLE, FINE = 80, 48, 32
FREE = 4  # dimensions of a vote that training chose the meaning of
DIRECTION = 0.25  # a half turn weighs as much as half a picture's side
VOTE = 2 + 2 + FREE
POOLS = 3  # ways in which a region is averaged: evenly, and by two learnt weights
DESCRIPTION = 48


@dataclass(frozen=True)
class PartedFrame:
    """What the head says of B frames.

    instrument: (B, 1, 4h, 4w) logits; vote: (B, VOTE, 4h, 4w), the first two x and y in shares of
    the picture's sides, then the direction's cosine and sine times DIRECTION
    texture: (B, T, 2h, 2w) what regions are described from; attention: (B, POOLS - 1, 2h, 2w)
    """

    instrument: Tensor
    vote: Tensor
    texture: Tensor
    attention: Tensor

    def color(self, grid: int) -> Tensor:
        """As token_color, from what the texture has of it. (B, 6, grid, grid)"""
        mean, spread = self.texture[:, -6:-3], self.texture[:, -3:]
        moments = torch.cat([mean, spread.square() + mean.square()], dim=1)
        return moments_color(pooled(moments, grid))


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, value: Tensor) -> Tensor:
        changed: Tensor = self.second(F.gelu(self.first(value)))
        return value + changed


class PartingHead(nn.Module):
    """See the module's docstring. width: channels of the stride-16 feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarse_in = nn.Conv2d(width + 2, COARSE, 1)
        self.coarse = nn.Sequential(*(_Residual(COARSE, d) for d in (1, 2, 4, 2, 1)))
        self.middle_in = nn.Conv2d(COARSE + width // 4, MIDDLE, 1)
        self.middle = nn.Sequential(*(_Residual(MIDDLE, d) for d in (1, 2, 1)))
        self.fine_in = nn.Conv2d(MIDDLE + width // 8 + 6, FINE, 1)
        self.fine = nn.Sequential(_Residual(FINE), _Residual(FINE))
        self.out = nn.Conv2d(FINE, 1 + VOTE, 1)
        self.attend = nn.Conv2d(MIDDLE, POOLS - 1, 1)
        texture = width + width // 4 + MIDDLE + 6
        self.discriminants = nn.Linear(POOLS * texture, DESCRIPTION)

    def forward(self, features: ImageFeatures, image: Tensor) -> PartedFrame:
        """features of B frames; image: (B, 3, S, S) normalised"""
        token = _unit_scale(features.stride16)
        stride8, stride4 = _unit_scale(features.stride8), _unit_scale(features.stride4)
        coarse = self.coarse(self.coarse_in(torch.cat([token, _places(token)], dim=1)))
        middle = self.middle(_joined(self.middle_in, coarse, stride8))
        near = color_moments(image, stride4.shape[-1])
        fine = self.fine(_joined(self.fine_in, middle, stride4, moments_color(near)))
        out: Tensor = self.out(fine)
        vote = torch.cat([out[:, 1:3] + _places(out), out[:, 3:]], dim=1)
        color = pooled(near, stride8.shape[-1])
        texture = torch.cat([_twice(token), stride8, middle, moments_color(color)], dim=1)
        return PartedFrame(out[:, :1], vote, texture, self.attend(middle))

    def describe(self, texture: Tensor, attention: Tensor, region: Tensor) -> Tensor:
        """Describe K regions of one frame, (K, DESCRIPTION) of unit length; see `pool`."""
        pooled = self.pool(texture, attention, region)
        return F.normalize(self.discriminants(pooled), dim=1)

    def pool(self, texture: Tensor, attention: Tensor, region: Tensor) -> Tensor:
        """Average K regions of one frame in POOLS ways.

        texture: (T, 2h, 2w); attention: (POOLS - 1, 2h, 2w); region: (K, 2h, 2w) 0 to 1
        returns:  (K, POOLS * T)
        """
        flat = region.flatten(1)  # (K, n)
        weights = [flat, *(flat * one.flatten().clamp(-8, 8).exp() for one in attention)]
        return torch.cat([_weighted_mean(texture, one) for one in weights], dim=1)


def _weighted_mean(texture: Tensor, weight: Tensor) -> Tensor:
    """texture: (T, H, W); weight: (K, HW) -> (K, T)"""
    return (weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-6)) @ texture.flatten(1).T


def _unit_scale(value: Tensor) -> Tensor:
    return value * torch.rsqrt(value.square().mean(dim=1, keepdim=True) + 1e-6)


def _joined(conv: nn.Conv2d, low: Tensor, *others: Tensor) -> Tensor:
    """conv, of side one, of [low enlarged, *others].

    Low goes through it first and is enlarged then, which is the same with a quarter of products.
    """
    own = F.conv2d(low, conv.weight[:, : low.shape[1]])
    rest = F.conv2d(torch.cat(others, dim=1), conv.weight[:, low.shape[1] :], conv.bias)
    return _twice(own) + rest


def _twice(value: Tensor) -> Tensor:
    return F.interpolate(value, scale_factor=2, mode="bilinear", align_corners=False)


def _places(like: Tensor) -> Tensor:
    """Centres of the pixels, x then y, 0 to 1. (B, 2, H, W)"""
    height, width = (int(side) for side in like.shape[-2:])  # as numbers, for an exported graph
    x = (torch.arange(width, dtype=torch.float32, device=like.device) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float32, device=like.device) + 0.5) / height
    both = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
    return both.expand(len(like), -1, -1, -1)

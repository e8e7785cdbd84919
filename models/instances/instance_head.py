"""Which instrument does a pixel belong to? A small head on the frozen trunk's features.

Each pixel says whether it is instrument, and votes for where its instrument is: the point where
the shaft ends and the direction it points in, so that instruments that touch or cross still vote
apart and one that is cut in two by another votes as one. A few free dimensions let looks help. The
head also describes a region (an instrument) by a short unit vector in which instruments of one kind
lie close together across the clips of a procedure. Trained on phantoms alone, see
`models/training/head_training.py`; docs/method.md has what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone.sam2 import ImageFeatures
from models.backbone.token_color import color_moments, moments_color, pooled

COARSE, MIDDLE, FINE = 80, 48, 32
OWN = (16, 32, 64, 96)  # channels of what the head itself sees, at strides 2, 4, 8, 16
FREE = 4  # dimensions of a vote that training chose the meaning of
DIRECTION = 0.25  # a half turn weighs as much as half a picture's side
VOTE = 2 + 2 + FREE
POOLS = 3  # ways in which a region is averaged: evenly, and by two learnt weights
EMBEDDING, BENT = 96, 192  # of a region; hidden units of what linear discriminants do not see


@dataclass(frozen=True)
class HeadOutput:
    """What the head says of B frames.

    instrument: (B, 1, 4h, 4w) logits; vote: (B, VOTE, 4h, 4w), the first two x and y in shares of
    the picture's sides, then the direction's cosine and sine times DIRECTION
    texture: (B, T, 2h, 2w) what regions are described from; attention: (B, POOLS - 1, 2h, 2w)
    """

    instrument: Tensor
    vote: Tensor
    texture: Tensor
    attention: Tensor


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


class OwnSight(nn.Module):
    """What the head sees of the picture beside the trunk, whose features were trained for masks.

    Its `out` layers start at zero: a head can be trained without it first, and go on with it.
    """

    def __init__(self) -> None:
        super().__init__()
        half, fine, middle, coarse = OWN
        self.stride2 = nn.Conv2d(3, half, 3, stride=2, padding=1)
        self.stride4 = nn.Conv2d(half, fine, 3, stride=2, padding=1)
        self.stride8 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.stride16 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.refine = nn.ModuleList(
            nn.Sequential(*(_Residual(width) for _ in range(count)))
            for width, count in ((fine, 1), (middle, 2), (coarse, 4))
        )
        self.out = nn.ModuleList(
            nn.Conv2d(own, width, 1, bias=False)
            for own, width in ((fine, FINE), (middle, MIDDLE), (coarse, COARSE))
        )
        for weight in self.out.parameters():
            nn.init.zeros_(weight)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image: (B, 3, S, S) normalised

        returns: (B, FINE, S/4, S/4), (B, MIDDLE, S/8, S/8), (B, COARSE, S/16, S/16)
        """
        seen, prediction = F.gelu(self.stride2(image)), []
        for down, refine, out in zip(
            (self.stride4, self.stride8, self.stride16), self.refine, self.out, strict=True
        ):
            seen = refine(_unit_scale(F.gelu(down(seen))))
            prediction.append(out(seen))
        return prediction


class RegionEmbedder(nn.Module):
    """Short unit vectors in which a procedure's regions of one kind lie close together.

    Linear discriminants and what a small network adds; `description_fitting.py` fits both.
    """

    def __init__(self, pooled: int) -> None:
        super().__init__()
        self.centre = nn.Buffer(torch.zeros(pooled))
        self.scale = nn.Buffer(torch.ones(pooled))
        self.straight = nn.Linear(pooled, EMBEDDING)
        self.enter, self.leave = nn.Linear(pooled, BENT), nn.Linear(BENT, EMBEDDING)

    def forward(self, pooled: Tensor, dropped: float = 0.0) -> Tensor:
        """(K, P), see InstanceHead.pool -> (K, EMBEDDING) of unit length

        dropped: share of the inputs that are left out, in training
        """
        seen = (pooled - self.centre) / self.scale
        straight = self.straight(F.dropout(seen, dropped / 2))
        hidden = F.gelu(self.enter(F.dropout(seen, dropped)))
        return F.normalize(straight + self.leave(F.dropout(hidden, dropped)), dim=1)


class InstanceHead(nn.Module):
    """See the module's docstring. width: channels of the stride-16 feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.own = OwnSight()
        self.coarse_in = nn.Conv2d(width + 2, COARSE, 1)
        self.coarse = nn.Sequential(*(_Residual(COARSE, d) for d in (1, 2, 4, 2, 1)))
        self.middle_in = nn.Conv2d(COARSE + width // 4, MIDDLE, 1)
        self.middle = nn.Sequential(*(_Residual(MIDDLE, d) for d in (1, 2, 1)))
        self.fine_in = nn.Conv2d(MIDDLE + width // 8 + 6, FINE, 1)
        self.fine = nn.Sequential(_Residual(FINE), _Residual(FINE))
        self.out = nn.Conv2d(FINE, 1 + VOTE, 1)
        self.attend = nn.Conv2d(MIDDLE, POOLS - 1, 1)
        texture = width + width // 4 + MIDDLE + 6
        self.embedder = RegionEmbedder(POOLS * texture)

    def forward(self, features: ImageFeatures, image: Tensor) -> HeadOutput:
        """features of B frames; image: (B, 3, S, S) normalised"""
        token = _unit_scale(features.stride16)
        stride8, stride4 = _unit_scale(features.stride8), _unit_scale(features.stride4)
        own4, own8, own16 = self.own(image)
        coarse = self.coarse(self.coarse_in(torch.cat([token, _places(token)], dim=1)) + own16)
        middle = self.middle(_joined(self.middle_in, coarse, stride8) + own8)
        near = color_moments(image, stride4.shape[-1])
        fine = self.fine(_joined(self.fine_in, middle, stride4, moments_color(near)) + own4)
        out: Tensor = self.out(fine)
        vote = torch.cat([out[:, 1:3] + _places(out), out[:, 3:]], dim=1)
        color = pooled(near, stride8.shape[-1])
        texture = torch.cat([twice(token), stride8, middle, moments_color(color)], dim=1)
        return HeadOutput(out[:, :1], vote, texture, self.attend(middle))

    def embed(self, texture: Tensor, attention: Tensor, region: Tensor) -> Tensor:
        """Describe K regions of one frame, (K, EMBEDDING) of unit length; see `pool`."""
        embedding: Tensor = self.embedder(self.pool(texture, attention, region))
        return embedding

    def pool(self, texture: Tensor, attention: Tensor, region: Tensor) -> Tensor:
        """Average K regions of one frame in POOLS ways.

        texture: (T, 2h, 2w); attention: (POOLS - 1, 2h, 2w); region: (K, 2h, 2w) 0 to 1
        returns:  (K, POOLS * T)
        """
        flat = region.flatten(1)  # (K, n)
        ways = [flat, *(flat * one.flatten().clamp(-8, 8).exp() for one in attention)]
        weight = torch.stack(ways, dim=1)  # (K, POOLS, n)
        share = weight / weight.sum(dim=2, keepdim=True).clamp_min(1e-6)
        mean: Tensor = share @ texture.flatten(1).T  # one product, so that texture is read once
        return mean.flatten(1)


def _unit_scale(value: Tensor) -> Tensor:
    return value * torch.rsqrt(value.square().mean(dim=1, keepdim=True) + 1e-6)


def _joined(conv: nn.Conv2d, low: Tensor, *others: Tensor) -> Tensor:
    """conv, of side one, of [low enlarged, *others].

    Low goes through it first and is enlarged then, which is the same with a quarter of products.
    """
    own = F.conv2d(low, conv.weight[:, : low.shape[1]])
    rest = F.conv2d(torch.cat(others, dim=1), conv.weight[:, low.shape[1] :], conv.bias)
    return twice(own) + rest


def twice(value: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W)"""
    return F.interpolate(value, scale_factor=2, mode="bilinear", align_corners=False)


def _places(like: Tensor) -> Tensor:
    """Centres of the pixels, x then y, 0 to 1. (B, 2, H, W)"""
    height, width = (int(side) for side in like.shape[-2:])  # as numbers, for an exported graph
    x = (torch.arange(width, dtype=torch.float32, device=like.device) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float32, device=like.device) + 0.5) / height
    both = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
    return both.expand(len(like), -1, -1, -1)

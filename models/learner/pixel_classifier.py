"""Which class is it? The mapping network's indicator, and a vote over the neighbourhood.

The mapping network's targets are extended by one indicator channel per class, fitted to the same
annotated frames by the same ridge regression, but on instrument tokens only: so it never has to
tell instrument from tissue, only one instrument from another. A token is described by its own
feature and colour and by their average over the instrument tokens around it, since a name belongs
to an instrument and not to a pixel. The scores, averaged over the neighbourhood once more, are
added to the mask decoder's logits with a weight that the held-out annotated frames choose; the best
sum names the pixel. Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.backbone.token_color import window_mean
from models.learner.mapping_network import Sample, Statistics, ridge_solution

DESCRIBE_WINDOW, VOTE_WINDOW = 7, 5  # sides, in tokens
RIDGE = 0.03
WEIGHTS = (0.0, 4.0, 8.0, 16.0)  # of a full score, in logits; fitting chooses one
FLOOR = -8.0  # what a row that the decoder gave up can still be named from
Classify = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]  # as PixelClassifier
MIN_TOKENS = 1.0  # a name that wins less than this much of the picture is not drawn


def instrument_features(stride16: Tensor, color: Tensor, cover: Tensor) -> Tensor:
    """What a name is decided on.

    stride16: (B, D, h, w); color: (B, 6, h, w) by token_color; cover: (B, 1, h, w) share of
    instrument
    returns:  (B, d, h, w)
    """
    token = stride16 * torch.rsqrt(stride16.square().mean(dim=1, keepdim=True) + 1e-6)
    own = torch.cat([token, color], dim=1)
    return torch.cat([own, instrument_mean(own, cover, DESCRIBE_WINDOW), torch.ones_like(cover)], 1)


def instrument_mean(value: Tensor, cover: Tensor, side: int) -> Tensor:
    """Average over the instrument tokens in a window. value: (B, d, h, w); cover: (B, 1, h, w)"""
    total = window_mean(value * cover, side, whole=False)
    weight = window_mean(cover, side, whole=False)
    return total / weight.clamp_min(1e-4)


def pixel_sample(token_features: Tensor, cover: Tensor) -> Sample:
    """One frame taken as true; every visible class weighs the same.

    token_features: (1, d, h, w) by instrument_features; cover: (C, h, w) share of each class
    """
    share = cover / cover.sum(dim=(1, 2), keepdim=True).clamp_min(1.0)
    weight = share.sum(dim=0).flatten()[None]
    return Sample(token_features.flatten(2), cover.flatten(1)[None], weight)


def fit_pixel_names(statistics: Statistics) -> Tensor:
    """Indicator weights in closed form. statistics of one row -> (C, d)"""
    return ridge_solution(statistics.normalized(), RIDGE)[0]


@dataclass(frozen=True)
class PixelNames:
    """indicator: (C, d) weights; weight: of its scores beside the decoder's logits

    anchor: statistics of the annotated frames, one row of weight one; None in older profiles,
    whose pixel names cannot be taught
    """

    indicator: Tensor
    weight: float
    anchor: Statistics | None = None


class PixelClassifier(nn.Module):
    """Gives every instrument pixel one name. Where any row sees an instrument, a name wins it."""

    def __init__(self, weight: float) -> None:
        """weight: see PixelNames"""
        super().__init__()
        self._weight = weight

    def forward(
        self, stride16: Tensor, color: Tensor, mask_logits: Tensor, indicator: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask logits, negative wherever another name won, and how certain each name is.

        stride16: (1, D, h, w); color: (1, 6, h, w) by token_color; mask_logits: (C, 1, 4h, 4w),
        absent classes already empty; indicator: (C, d)
        returns:  (C, 1, 4h, 4w); (C,) mean score of the class where it won, 0 to 1
        """
        grid, size = int(stride16.shape[-1]), int(mask_logits.shape[-1])
        instrument = mask_logits.amax(dim=0, keepdim=True)  # (1, 1, 4h, 4w)
        cover = F.adaptive_avg_pool2d((instrument > 0).float(), grid)
        token_features = instrument_features(stride16, color, cover)
        scores = (indicator @ token_features[0].flatten(1)).unflatten(1, (grid, grid))[:, None]
        voted = instrument_mean(scores, cover.expand(len(scores), -1, -1, -1), VOTE_WINDOW)
        fine = F.interpolate(voted, size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)
        sums = mask_logits[:, 0].clamp_min(FLOOR) + self._weight * fine
        won = _winners(sums, instrument[0, 0] > 0, tokens=(size // grid) ** 2)
        certainty = (fine * won).sum(dim=(1, 2)) / won.sum(dim=(1, 2)).clamp_min(1)
        return torch.where(won[:, None], instrument, -instrument.abs() - 1), certainty


def _winners(scores: Tensor, instrument: Tensor, tokens: int) -> Tensor:
    """(C, H, W) bool: the best name of each instrument pixel, but no name with little area."""
    best = scores.max(dim=0).indices  # ten times as fast as argmax, and as much the first one
    rows = torch.arange(len(scores), device=scores.device)[:, None, None]
    area = ((best[None] == rows) & instrument).sum(dim=(1, 2))
    large = area >= MIN_TOKENS * tokens
    large = torch.where(large.any(), large, area == area.max())
    kept = scores.masked_fill(~large[:, None, None], float("-inf"))
    return (kept.max(dim=0).indices[None] == rows) & instrument


def classify_pixels(
    classify: Classify,
    features: ImageFeatures,
    color: Tensor,
    decoded: DecodedMasks,
    indicator: Tensor,
) -> tuple[DecodedMasks, Tensor]:
    """The masks after naming, and how certain each name is, (C,).

    classify: as PixelClassifier; features, color: of one frame, the latter by token_color
    """
    mask_logits, certainty = classify(features.stride16, color, decoded.gated(), indicator)
    shown = mask_logits.amax(dim=(1, 2, 3)) > 0
    logit = torch.where(shown, decoded.object_logit.clamp_min(0.1), decoded.object_logit)
    return replace(decoded, mask_logits=mask_logits, object_logit=logit), certainty

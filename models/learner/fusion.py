"""Adaptive fusion of memory-conditioned and mapped features (OFL-SAM2, arXiv 2512.24861)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class AdaptiveFusion(nn.Module):
    """W = sigmoid(conv([E1; E2])), E = W * E1 + (1 - W) * E2.

    The bias starts W near `start`, so that an unfitted module leaves SAM2 as it is.
    """

    def __init__(self, width: int, start: float = 0.9) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * width, width, kernel_size=1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(cast(Tensor, self.gate.bias), float(torch.logit(torch.tensor(start))))

    def weight(self, attended: Tensor, mapped: Tensor) -> Tensor:
        """Share of E1 per row, channel and place. (C, D, h, w) twice -> (C, D, h, w)"""
        rows, width = attended.shape[:2]
        own, other = (
            one.expand(rows, -1, -1) for one in self.gate.weight.flatten(1).split(width, 1)
        )
        bias = cast(Tensor, self.gate.bias)[:, None].expand(rows, -1, attended[0, 0].numel())
        # The convolution as two products: nothing is joined first.
        gate = torch.baddbmm(
            torch.baddbmm(bias, own, attended.flatten(2)), other, mapped.flatten(2)
        )
        return torch.sigmoid(gate).view_as(attended)

    def forward(self, attended: Tensor, mapped: Tensor) -> Tensor:
        """E1 and E2, (C, D, h, w) each -> E, (C, D, h, w)"""
        return torch.lerp(mapped, attended, self.weight(attended, mapped))

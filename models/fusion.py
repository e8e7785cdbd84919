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
        return torch.sigmoid(cast(Tensor, self.gate(torch.cat([attended, mapped], dim=1))))

    def forward(self, attended: Tensor, mapped: Tensor) -> Tensor:
        """E1 and E2, (C, D, h, w) each -> E, (C, D, h, w)"""
        return torch.lerp(mapped, attended, self.weight(attended, mapped))

"""Regions of annotated frames, by which instruments are named.

Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SHARPNESS = 8.0  # of the comparison


@dataclass(frozen=True)
class Exemplars:
    """Regions of annotated frames. embedding: (R, D) unit length; row: (R,) long, their class

    alone: share of annotated frames in which no class had two regions
    """

    embedding: Tensor
    row: Tensor
    alone: float = 1.0

    def log_shares(self, embedding: Tensor, classes: int, residual: Tensor | None = None) -> Tensor:
        """How much each class is like these regions. (K, D) -> (K, C + 1), shares sum to one

        residual: (C, D) what lessons add to the evidence of an embedding; None: nothing
        The last column is none of them: what is at right angles to every exemplar.
        """
        alike = (SHARPNESS * embedding @ self.embedding.T).exp()  # (K, R)
        own = F.one_hot(self.row, classes).to(alike.dtype)  # (R, C)
        count = own.sum(dim=0)
        mean = (alike @ own) / count.clamp_min(1)
        like = torch.where(count > 0, mean.clamp_min(1e-30).log(), -SHARPNESS)
        if residual is not None:
            like = like + embedding @ residual.T
        return F.pad(like, (0, 1)).log_softmax(dim=1)

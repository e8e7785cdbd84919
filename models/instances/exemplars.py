"""Regions with a name: those of annotated frames, and a stream's recent ones beside them.

Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.learner.online_learner import LearnerState

RING = 8  # recent descriptions of a class
SHARE = 0.5  # that a full ring has in the likeness to its class
ALIKE = 0.9  # cosine from which a description takes the place of the most similar one
SHARPNESS = 8.0  # of the comparison with references


@dataclass(frozen=True)
class Exemplars:
    """Regions of annotated frames. description: (R, D) unit length; row: (R,) long, their class

    alone: share of annotated frames in which no class had two regions
    found_weight: of the instance head's own opinion of what is instrument, beside the decoder's
    """

    embedding: Tensor
    row: Tensor
    alone: float = 1.0
    found_weight: float = 0.0

    @property
    def unaided(self) -> bool:
        """Does the head alone say what is instrument?"""
        return self.found_weight >= 1.0

    def log_shares(
        self, embedding: Tensor, rows: int, recent: RecentExemplars | None = None
    ) -> Tensor:
        """How much each class is like these regions. (K, D) -> (K, rows + 1), shares sum to one

        The last column is none of them: what is at right angles to every reference.
        """
        alike = (SHARPNESS * embedding @ self.embedding.T).exp()  # (K, R)
        own = F.one_hot(self.row, rows).to(alike.dtype)  # (R, rows)
        return log_shares(embedding, alike @ own, own.sum(dim=0), recent)

    def left_out(self, rows: int) -> tuple[Tensor, Tensor]:
        """Each region by all others: sums of its likeness to each class's, and their number.

        (R, rows) both
        """
        alike = (SHARPNESS * self.embedding @ self.embedding.T).exp().fill_diagonal_(0)
        own = F.one_hot(self.row, rows).to(alike.dtype)
        return alike @ own, own.sum(dim=0) - own


@dataclass(frozen=True)
class RecentExemplars:
    """Descriptions of confident regions. description: (C, RING, D), the first `count` (C,) count"""

    embedding: Tensor
    count: Tensor

    @classmethod
    def none(cls, rows: int, width: int, device: torch.device) -> RecentExemplars:
        """Of a stream that has not begun."""
        count = torch.zeros(rows, dtype=torch.long, device=device)
        return cls(torch.zeros(rows, RING, width, device=device), count)

    @property
    def nbytes(self) -> int:
        """Bytes held; constant."""
        held = (self.embedding, self.count)
        return sum(t.numel() * t.element_size() for t in held)

    def likeness(self, embedding: Tensor) -> Tensor:
        """Mean likeness to each class's regions. (K, D) -> (K, C)"""
        alike = (SHARPNESS * self.embedding @ embedding.T).exp()  # (C, RING, K)
        held = torch.arange(RING, device=alike.device) < self.count[:, None]
        total: Tensor = (alike * held[..., None]).sum(dim=1)
        return (total / self.count[:, None].clamp_min(1)).T

    def with_region(self, row: int, embedding: Tensor) -> RecentExemplars:
        """One more, (D,); instead of the most similar one if it is as good as the same."""
        count = int(self.count[row])
        held = self.embedding[row, :count]
        alike = held @ embedding
        if count and float(alike.max()) >= ALIKE:
            place = int(alike.argmax())
            held = torch.cat([held[:place], held[place + 1 :]])
        kept = torch.cat([held, embedding[None]])[-RING:]
        new, counts = self.embedding.clone(), self.count.clone()
        new[row, : len(kept)], counts[row] = kept, len(kept)
        return RecentExemplars(new, counts)

    def arrays(self) -> LearnerState:
        """The same without torch, to be kept in another process."""
        return self.embedding.numpy(force=True), self.count.numpy(force=True).astype(np.float32)

    @classmethod
    def of(cls, arrays: LearnerState, device: torch.device) -> RecentExemplars:
        """Back from arrays."""
        embedding, count = (torch.from_numpy(one.copy()).to(device) for one in arrays)
        return cls(embedding, count.long())


def log_shares(
    embedding: Tensor, likeness: Tensor, count: Tensor, recent: RecentExemplars | None
) -> Tensor:
    """See Exemplars. likeness: (K, C) sums over count, (C,) or (K, C), references"""
    mean = likeness / count.clamp_min(1)
    if recent is not None:
        share = SHARE * recent.count / RING  # (C,)
        mean = mean + share * (recent.likeness(embedding) - mean)
    like = torch.where(count > 0, mean.clamp_min(1e-30).log(), -SHARPNESS)
    return F.pad(like, (0, 1)).log_softmax(dim=1)

"""What a stream teaches about names: regions of its confident frames, beside the annotated ones.

A class keeps a few recent regions, which weigh at most as much as its annotated ones. A lesson
after which fewer annotated regions, each left out in turn, would get the name that they were given
is undone. Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.instances.exemplars import Exemplars, RecentExemplars, log_shares


class ExemplarLearner:
    """The recent regions of one stream, and who may join them."""

    def __init__(self, exemplars: Exemplars, rows: int) -> None:
        self._known, self._rows = exemplars, rows
        self._left_out = exemplars.left_out(rows)
        self.recent = self._none()
        self._right = self.rightly_named(self.recent)

    def update(self, row: int, embedding: Tensor, *, guarded: bool = True) -> bool:
        """Take a region of that class, (D,), unless the guard objects; was it taken?"""
        new = self.recent.with_region(row, embedding)
        if not bool(torch.isfinite(embedding).all()):
            return False
        if guarded and self.rightly_named(new) < self._right:
            return False
        self.recent = new
        return True

    def rightly_named(self, recent: RecentExemplars) -> int:
        """Annotated regions whose name the other ones and the recent ones give them again."""
        shares = log_shares(self._known.embedding, *self._left_out, recent)
        return int((shares.argmax(dim=1) == self._known.row).sum())

    def reset(self) -> None:
        """As the profile left it."""
        self.recent = self._none()

    def _none(self) -> RecentExemplars:
        known = self._known.embedding
        return RecentExemplars.none(self._rows, known.shape[1], known.device)

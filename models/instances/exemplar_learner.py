"""What a stream teaches about names: regions of its confident frames, beside the annotated ones.

A class keeps a few recent regions, which weigh at most as much as its annotated ones. A lesson
after which fewer annotated regions, each left out in turn, would get the name that they were given
is undone. Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.instances.exemplars import Recent, References, log_shares


class ReferenceLearner:
    """The recent regions of one stream, and who may join them."""

    def __init__(self, references: References, rows: int) -> None:
        self._known, self._rows = references, rows
        self._left_out = references.left_out(rows)
        self.recent = self._none()
        self._right = self.rightly_named(self.recent)

    def learn(self, row: int, description: Tensor, *, guarded: bool = True) -> bool:
        """Take a region of that class, (D,), unless the guard objects; was it taken?"""
        new = self.recent.with_region(row, description)
        if not bool(torch.isfinite(description).all()):
            return False
        if guarded and self.rightly_named(new) < self._right:
            return False
        self.recent = new
        return True

    def rightly_named(self, recent: Recent) -> int:
        """Annotated regions whose name the other ones and the recent ones give them again."""
        shares = log_shares(self._known.description, *self._left_out, recent)
        return int((shares.argmax(dim=1) == self._known.row).sum())

    def reset(self) -> None:
        """As the profile left it."""
        self.recent = self._none()

    def _none(self) -> Recent:
        known = self._known.description
        return Recent.none(self._rows, known.shape[1], known.device)

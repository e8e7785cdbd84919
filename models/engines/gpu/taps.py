"""Which old pixels a new one is made of, for pictures that are resized on a device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Taps:
    """What new pixels take of old ones, T each. place: (T, size) long; weight: (T, size)"""

    place: Tensor
    weight: Tensor

    def on(self, device: torch.device) -> Taps:
        """The same there."""
        return Taps(self.place.to(device), self.weight.to(device))

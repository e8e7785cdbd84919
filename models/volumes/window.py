"""From a scanner's numbers to grey levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.errors import VolumeError
from models.types import UInt8Array
from models.volumes.grid import Voxels

SOFT_TISSUE = (-125.0, 275.0)  # HU; TransUNet's, and so of all that followed it on Synapse-CT
AIR = -500.0  # only Hounsfield units go below this
PERCENTILES = (0.5, 99.5)
SAMPLES = 1_000_000  # voxels that percentiles are taken from


@dataclass(frozen=True)
class Window:
    """low becomes black, high white; why: who chose it, for reports. Raises VolumeError."""

    low: float
    high: float
    why: str = "given"

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise VolumeError(f"expected a window LOW < HIGH, got {self.low:g} {self.high:g}")

    @classmethod
    def parse(cls, text: str) -> Window:
        """From "LOW:HIGH". Raises VolumeError."""
        low, _, high = text.partition(":")
        try:
            return cls(float(low), float(high))
        except ValueError as error:
            raise VolumeError(f"expected a window LOW:HIGH, got {text!r}") from error

    def grey(self, values: Voxels) -> UInt8Array:
        """uint8, of any shape."""
        scaled = (values.astype(np.float32) - self.low) * (255 / (self.high - self.low))
        return np.asarray(np.rint(scaled.clip(0, 255)), dtype=np.uint8)


def choose_window(voxels: Voxels) -> Window:
    """Soft tissue for what looks like CT, else the 0.5 to 99.5 percentile of the whole volume."""
    low, high = float(voxels.min()), float(voxels.max())
    if low < AIR and high > 0:
        return Window(*SOFT_TISSUE, why="looks like Hounsfield units")
    step = voxels.size // SAMPLES | 1  # odd: not always the same column of a row
    flat = voxels.ravel(order="K")[::step]
    first, last = (float(value) for value in np.percentile(flat, PERCENTILES))
    if first < last:
        return Window(first, last, why="percentiles 0.5 and 99.5")
    return Window(low, high if high > low else low + 1, why="smallest and largest value")

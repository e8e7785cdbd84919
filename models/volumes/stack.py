"""A volume as grey slices: what is kept of it while it is being looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.types import UInt8Array
from models.volumes.grid import Volume
from models.volumes.slices import SlicePlane
from models.volumes.window import Window, choose_window


@dataclass(frozen=True)
class SliceStack:
    """grey: (N, H, W) uint8, one byte a voxel; the scanner's numbers are not kept."""

    grey: UInt8Array
    plane: SlicePlane
    window: Window

    @classmethod
    def of(cls, volume: Volume, plane: SlicePlane, window: Window | None = None) -> SliceStack:
        """Decode a volume. window: None chooses one. Raises VolumeError."""
        voxels = volume.read()
        window = window or choose_window(voxels)
        count = plane.count(voxels.shape)
        grey = np.empty((count, *plane.cut(voxels, 0).shape), np.uint8)
        for number in range(count):
            grey[number] = window.grey(plane.cut(voxels, number))
        return cls(grey, plane, window)

    def image_rgb(self, number: int) -> UInt8Array:
        """(H, W, 3) uint8 with three equal channels."""
        return np.repeat(self.grey[number][..., None], 3, axis=2)

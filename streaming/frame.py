"""A frame and when it was captured."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    image_rgb: (H, W, 3) uint8, treated as read-only by everybody
    index: number of the frame in its source, from 0; gaps are dropped frames
    pts_ns: presentation time on the source's own clock, nanoseconds from its first frame
    captured_ns: time.monotonic_ns() when the frame came out of the source
    """

    image_rgb: UInt8Array = field(repr=False)
    index: int
    pts_ns: int
    captured_ns: int

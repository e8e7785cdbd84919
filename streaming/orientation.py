"""A picture as it is meant to be looked at: turned and mirrored as its display matrix says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from streaming.frame import UInt8Array


@dataclass(frozen=True)
class Orientation:
    """First rows and columns are swapped, then rows and columns are counted the other way."""

    swapped: bool = False
    from_below: bool = False
    from_right: bool = False

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Orientation:
        """To the nearest quarter turn; as it is stored where nothing usable is stated."""
        try:
            held: Any = picture.side_data
            data = bytes(held[Type.DISPLAYMATRIX])
        except KeyError:
            return cls()
        # x' = a x + c y, y' = b x + d y, in 16.16 fixed point, y downwards
        a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(np.int64)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, bool(b < 0), bool(c < 0))
        return cls(False, bool(d < 0), bool(a < 0))

    def upright(self, image: UInt8Array) -> UInt8Array:
        """(H, W, 3) as stored -> as shown, (W, H, 3) where rows and columns are swapped"""
        if self == Orientation():
            return image
        turned = image.swapaxes(0, 1) if self.swapped else image
        rows, columns = -1 if self.from_below else 1, -1 if self.from_right else 1
        return np.ascontiguousarray(turned[::rows, ::columns])

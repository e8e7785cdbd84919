"""A block code in a corner of the picture that carries the frame number through any codec.

Two rows of twelve cells, black or white: sixteen bits of the number, eight of a checksum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streaming.frame import UInt8Array

CELL, COLUMNS, ROWS = 16, 12, 2
MARK_WIDTH, MARK_HEIGHT = CELL * COLUMNS, CELL * ROWS  # pixels
WRAP = 1 << 16


def draw_mark(image_rgb: UInt8Array, number: int) -> None:
    """Draw the mark into the bottom left corner, in place. number: taken modulo 65536"""
    bits = _bits(number % WRAP).reshape(ROWS, COLUMNS)
    cells = np.repeat(np.repeat(bits, CELL, axis=0), CELL, axis=1)
    height = image_rgb.shape[0]
    image_rgb[height - ROWS * CELL : height, : COLUMNS * CELL] = cells[..., None] * 255


def read_mark(image_rgb: UInt8Array) -> int | None:
    """The number, modulo 65536, or None where no valid mark is seen. Robust to lossy coding."""
    height, width = image_rgb.shape[:2]
    if height < ROWS * CELL or width < COLUMNS * CELL:
        return None
    grey = image_rgb[height - ROWS * CELL :, : COLUMNS * CELL].mean(axis=2)
    cells = grey.reshape(ROWS, CELL, COLUMNS, CELL)[:, 4:-4, :, 4:-4].mean(axis=(1, 3))
    return number_of_mark((cells > 127).astype(np.uint8).ravel())


def number_of_mark(cells: Sequence[int] | UInt8Array) -> int | None:
    """The number that a mark's cells say, 1 where white, row by row; None where it is no mark."""
    bits = np.asarray(cells, np.uint8)
    number = int(np.packbits(bits[:16]).view(">u2")[0])
    return number if np.array_equal(bits, _bits(number)) else None


def _bits(number: int) -> UInt8Array:
    """(24,) uint8 of zeros and ones."""
    check = (number * 167 + (number >> 8) * 59 + 0x5A) & 0xFF
    packed = np.array([number >> 8, number & 0xFF, check], dtype=np.uint8)
    return np.unpackbits(packed)

"""Regions as annotation tools write them, polygons and run lengths, as pixels and back.

A pixel belongs to a polygon when its centre (column + 0.5, row + 0.5) does, by the even-odd rule.
Run lengths begin with a run outside; COCO counts down the columns, CVAT along the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]


def fill_polygon(points: npt.NDArray[np.float64], shape: tuple[int, int]) -> BoolArray:
    """(H, W) True inside. points: (n, 2) x and y in pixels; shape: (H, W)

    Raises ValueError: fewer than three corners, or one that is not finite.
    """
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"expected three finite corners or more, got {len(points)} corners")
    height, width = shape
    start, end = points, np.roll(points, -1, axis=0)
    y = np.arange(height) + 0.5
    low = np.minimum(start[:, 1], end[:, 1])[:, None]
    high = np.maximum(start[:, 1], end[:, 1])[:, None]
    edge, row = np.nonzero((low <= y) & (y < high))  # which edge crosses which row of centres
    rise = end[edge, 1] - start[edge, 1]
    along = (y[row] - start[edge, 1]) / rise
    x = start[edge, 0] + along * (end[edge, 0] - start[edge, 0])
    first = np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)  # first centre right of the edge
    crossings = np.zeros((height, width + 1), np.int32)
    np.add.at(crossings, (row, first), 1)
    inside: BoolArray = np.cumsum(crossings, axis=1)[:, :width] % 2 == 1
    return inside


def fill_rings(rings: Sequence[npt.NDArray[np.float64]], shape: tuple[int, int]) -> BoolArray:
    """(H, W) True inside any of the rings. One of fewer than three corners is a stray click.

    Raises ValueError: a corner that is not finite, or stray clicks alone, which outline nothing.
    """
    if all(len(ring) < 3 for ring in rings):
        most = max((len(ring) for ring in rings), default=0)
        raise ValueError(f"expected three finite corners or more, got {most} corners")
    region = np.zeros(shape, np.bool_)
    for ring in rings:
        if len(ring) >= 3:
            region |= fill_polygon(ring, shape)
    return region


def corners(numbers: Sequence[float]) -> npt.NDArray[np.float64]:
    """x, y, x, y, ... -> (n, 2). Raises ValueError."""
    flat = np.asarray(numbers, dtype=np.float64)
    if flat.ndim != 1 or len(flat) % 2:
        raise ValueError(f"expected pairs of x and y, got {flat.size} numbers")
    return flat.reshape(-1, 2)


def fill_runs(counts: Sequence[int], shape: tuple[int, int], *, by_column: bool) -> BoolArray:
    """(H, W) True in every second run. Raises ValueError when they do not fill the shape."""
    height, width = shape
    if any(count != int(count) for count in counts):
        raise ValueError("expected runs of whole pixels")
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"expected runs of {height * width} pixels, got {sum(counts)}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, np.asarray(counts, dtype=np.intp))
    return flat.reshape(width, height).T if by_column else flat.reshape(height, width)


def runs(mask: BoolArray, *, by_column: bool) -> list[int]:
    """Run lengths of an (H, W) mask, the first of them outside."""
    flat = (mask.T if by_column else mask).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = [0, *edges.tolist(), flat.size]
    lengths = np.diff(bounds).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def unpack_counts(text: str) -> list[int]:
    """The run lengths of COCO's compressed string.

    Six bits a character, from "0": five bits of the number, lowest first, and one that says that
    more follow; negative numbers in two's complement; from the fourth on, differences to the last
    but one. Raises ValueError when the string is something else.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"expected a compressed run length, got {character!r} in it")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("expected a whole compressed run length, got one cut short")
    return counts


def pack_counts(counts: Sequence[int]) -> str:
    """COCO's compressed string of run lengths; see unpack_counts."""
    characters: list[str] = []
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            characters.append(chr(48 + bits + (32 if more else 0)))
            if not more:
                break
    return "".join(characters)

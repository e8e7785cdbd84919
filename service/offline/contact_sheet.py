"""Slices of a volume with their masks, beside each other in one picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from models.types import ClassSpec, UInt8Array
from streaming.overlay import OverlayStyle, draw_overlay, in_font, parse_color

TILES = 30
COLUMNS = 6
SIDE = 200  # pixels of a tile's longer side
MARGIN = 4
WHITE = (235, 235, 235)
INK = (16, 18, 22)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def spread(count: int, most: int = TILES) -> list[int]:
    """At most `most` of `count` numbers, evenly, first and last among them."""
    return sorted({int(n) for n in np.linspace(0, count - 1, min(count, most)).round()})


def contact_sheet(
    tiles: Callable[[int], tuple[UInt8Array, UInt8Array]],
    numbers: Sequence[int],
    classes: tuple[ClassSpec, ...],
    spacing_mm: tuple[float, float],
) -> UInt8Array:
    """(H, W, 3) RGB: tiles row by row with their numbers, the classes' names below.

    tiles: turns a number into a picture (h, w, 3) and its class map (h, w)
    spacing_mm: of rows and columns; tiles have the proportions of the body, not of the array
    """
    palette = {spec.class_id: parse_color(spec.color) for spec in classes}
    drawn = []
    for number in numbers:
        image, ids = tiles(number)
        size = _tile_size(image.shape, spacing_mm)
        large = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
        tile = draw_overlay(
            np.asarray(large, np.uint8), np.asarray(labels, np.uint8), palette, OverlayStyle()
        )
        write(tile, str(number), (4, 14))
        drawn.append(tile)
    return np.vstack([_grid(drawn), legend(classes, _width(drawn))])


def _tile_size(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    """(width, height) in pixels."""
    height, width = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = SIDE / max(height, width)
    return max(24, round(width * scale)), max(24, round(height * scale))


def _width(tiles: Sequence[UInt8Array]) -> int:
    across: int = tiles[0].shape[1]
    return min(COLUMNS, len(tiles)) * (across + MARGIN) + MARGIN


def _grid(tiles: Sequence[UInt8Array]) -> UInt8Array:
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / COLUMNS)
    sheet = np.full((rows * (height + MARGIN) + MARGIN, _width(tiles), 3), INK, np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        top, left = MARGIN + row * (height + MARGIN), MARGIN + column * (width + MARGIN)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def legend(classes: Sequence[ClassSpec], width: int) -> UInt8Array:
    """(h, width, 3) RGB: a square in its colour and a name for each class, line by line."""
    places, left, line = [], 8, 0
    for spec in classes:
        across = cv2.getTextSize(spec.name, FONT, 0.45, 1)[0][0] + 40
        if left > 8 and left + across > width:
            left, line = 8, line + 1
        places.append((left, 22 * line + 6))
        left += across
    strip = np.full((22 * (line + 1) + 8, width, 3), INK, np.uint8)
    for spec, (x, y) in zip(classes, places, strict=True):
        cv2.rectangle(strip, (x, y), (x + 12, y + 12), parse_color(spec.color), -1)
        write(strip, spec.name, (x + 18, y + 11))
    return strip


def write(canvas: UInt8Array, text: str, at: tuple[int, int]) -> None:
    """Write on a picture."""
    cv2.putText(canvas, in_font(text), at, FONT, 0.45, WHITE, 1, cv2.LINE_AA)

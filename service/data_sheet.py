"""A contact sheet of annotated frames: the picture, and beside it the picture with its masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.datasets.summary import ShownFrame
from models.types import IGNORE_ID, ClassSpec, UInt8Array
from streaming.overlay import OverlayStyle, draw_overlay, parse_color

TILE_WIDTH, CAPTION, LEGEND_ROW, PAIRS = 320, 20, 22, 2
GROUND, INK, IGNORED = (24, 26, 30), (225, 228, 232), (128, 128, 128)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_sheet(path: Path, shown: Sequence[ShownFrame], classes: Sequence[ClassSpec]) -> None:
    """Write the sheet as an image. Raises OSError when the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(shown, classes)
    if not cv2.haveImageWriter(str(path)) or not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise OSError(0, "expected an image file such as sheet.png that can be written", str(path))


def contact_sheet(shown: Sequence[ShownFrame], classes: Sequence[ClassSpec]) -> UInt8Array:
    """(H, W, 3) RGB: pairs of tiles, a caption each, the legend of the classes below."""
    palette = {spec.class_id: parse_color(spec.color) for spec in classes}
    pairs = [_pair(one, palette | {IGNORE_ID: IGNORED}) for one in shown]
    height = max(pair.shape[0] for pair in pairs)
    padded = [_pad(pair, height) for pair in pairs]
    padded += [np.full_like(padded[0], GROUND)] * (-len(padded) % PAIRS)
    rows = [np.hstack(padded[at : at + PAIRS]) for at in range(0, len(padded), PAIRS)]
    return np.vstack([*rows, _legend(classes, rows[0].shape[1])])


def _pair(one: ShownFrame, palette: dict[int, tuple[int, int, int]]) -> UInt8Array:
    assert one.frame.read_mask is not None
    image, mask = one.frame.read_image(), one.frame.read_mask()
    size = (TILE_WIDTH, max(1, round(image.shape[0] * TILE_WIDTH / image.shape[1])))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    drawn = draw_overlay(small, labels, palette, OverlayStyle(opacity=0.5))
    caption = np.full((CAPTION, 2 * TILE_WIDTH, 3), GROUND, np.uint8)
    _write(caption, f"{one.sequence} / {one.frame.name}", (4, CAPTION - 6))
    return np.vstack([caption, np.hstack([small, drawn])])


def _pad(pair: UInt8Array, height: int) -> UInt8Array:
    below = np.full((height - pair.shape[0], *pair.shape[1:]), GROUND, np.uint8)
    return np.vstack([pair, below])


def _legend(classes: Sequence[ClassSpec], width: int) -> UInt8Array:
    columns = max(1, width // 240)
    entries = [(spec.name, parse_color(spec.color)) for spec in classes] + [("ignored", IGNORED)]
    rows = -(-len(entries) // columns)
    legend = np.full((rows * LEGEND_ROW + 6, width, 3), GROUND, np.uint8)
    for number, (name, color) in enumerate(entries):
        left, top = 240 * (number % columns) + 6, LEGEND_ROW * (number // columns) + 6
        cv2.rectangle(legend, (left, top), (left + 12, top + 12), color, -1)
        _write(legend, name, (left + 18, top + 11))
    return legend


def _write(canvas: UInt8Array, text: str, at: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, at, FONT, 0.42, INK, 1, cv2.LINE_AA)

"""A contact sheet of annotated frames: the picture, and beside it the picture with its masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.datasets.summary import ShownFrame
from models.types import IGNORE_ID, ClassSpec, UInt8Array
from service.offline.contact_sheet import INK, legend, write
from streaming.overlay import OverlayStyle, draw_overlay, parse_color

TILE_WIDTH, CAPTION, PAIRS = 320, 20, 2
IGNORED = ClassSpec(IGNORE_ID, "ignored", "#808080")


def write_sheet(path: Path, shown: Sequence[ShownFrame], classes: Sequence[ClassSpec]) -> None:
    """Write the sheet as an image. Raises OSError when the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = frame_sheet(shown, classes)
    if not cv2.haveImageWriter(str(path)) or not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise OSError(0, "expected an image file such as sheet.png that can be written", str(path))


def frame_sheet(shown: Sequence[ShownFrame], classes: Sequence[ClassSpec]) -> UInt8Array:
    """(H, W, 3) RGB: pairs of tiles, a caption each, the legend of the classes below."""
    named = [*classes, IGNORED]
    palette = {spec.class_id: parse_color(spec.color) for spec in named}
    pairs = [_pair(one, palette) for one in shown]
    height = max(pair.shape[0] for pair in pairs)
    padded = [_pad(pair, height) for pair in pairs]
    padded += [np.full_like(padded[0], INK)] * (-len(padded) % PAIRS)
    rows = [np.hstack(padded[at : at + PAIRS]) for at in range(0, len(padded), PAIRS)]
    return np.vstack([*rows, legend(named, rows[0].shape[1])])


def _pair(one: ShownFrame, palette: dict[int, tuple[int, int, int]]) -> UInt8Array:
    assert one.frame.read_mask is not None
    image, mask = one.frame.read_image(), one.frame.read_mask()
    size = (TILE_WIDTH, max(1, round(image.shape[0] * TILE_WIDTH / image.shape[1])))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    drawn = draw_overlay(small, labels, palette, OverlayStyle(opacity=0.5))
    caption = np.full((CAPTION, 2 * TILE_WIDTH, 3), INK, np.uint8)
    write(caption, f"{one.sequence} / {one.frame.name}", (4, CAPTION - 6))
    return np.vstack([caption, np.hstack([small, drawn])])


def _pad(pair: UInt8Array, height: int) -> UInt8Array:
    below = np.full((height - pair.shape[0], *pair.shape[1:]), INK, np.uint8)
    return np.vstack([pair, below])

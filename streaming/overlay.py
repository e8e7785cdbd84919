"""Draws masks over the picture: a tint, a crisp contour, names, and the badge of the state."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from streaming.frame import UInt8Array

Color = tuple[int, int, int]
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class OverlayStyle:
    """opacity of the tint, 0 to 1; contour and labels on or off; names by class id."""

    opacity: float = 0.38
    contour: bool = True
    names: Mapping[int, str] = field(default_factory=dict)


def parse_color(text: str) -> Color:
    """Turn "#rrggbb" into (r, g, b)."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def draw_overlay(
    image_rgb: UInt8Array,
    class_map: UInt8Array,
    palette: Mapping[int, Color],
    style: OverlayStyle | None = None,
) -> UInt8Array:
    """A copy of the picture with its masks.

    image_rgb: (H, W, 3) uint8; class_map: (H, W) uint8 class ids, 0 is background
    """
    style = style or OverlayStyle()
    out = image_rgb.copy()
    left, top, width, height = cv2.boundingRect(class_map)
    if width == 0 or height == 0:
        return out
    ids = np.ascontiguousarray(class_map[top : top + height, left : left + width])
    shapes = {
        class_id: contours
        for class_id in palette
        if (contours := _contours(ids, class_id, (left, top)))
    }
    for class_id, contours in shapes.items():
        table = _blend_table(palette[class_id], style.opacity)
        mask = (class_map == class_id).view(np.uint8)
        for contour in contours:
            _tint(out, image_rgb, mask, contour, table)
    width_px = max(1, round(max(image_rgb.shape[:2]) / 500))
    for class_id, contours in shapes.items():
        if style.contour:
            cv2.drawContours(out, contours, -1, palette[class_id], width_px, cv2.LINE_AA)
    taken = class_map
    for class_id, contours in shapes.items():
        if class_id in style.names:
            taken = _label(out, taken, contours, style.names[class_id], palette[class_id])
    return out


def _contours(ids: UInt8Array, class_id: int, offset: tuple[int, int]) -> Sequence[Any]:
    mask = (ids == class_id).view(np.uint8)
    if not cv2.hasNonZero(mask):
        return ()
    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
    return tuple(found)


def _blend_table(color: Color, opacity: float) -> UInt8Array:
    """What each channel value becomes under the tint. (256, 1, 3) uint8"""
    values = np.arange(256)[:, None, None] * (1 - opacity) + np.array(color) * opacity
    return np.asarray(np.rint(values), dtype=np.uint8)


def _tint(
    out: UInt8Array, image_rgb: UInt8Array, mask: UInt8Array, contour: Any, table: UInt8Array
) -> None:
    """Tint one region: instruments are thin, the box around all of them is the whole picture.

    Reads the untouched picture, so that where boxes overlap nothing is tinted twice.
    """
    left, top, width, height = cv2.boundingRect(contour)
    box = slice(top, top + height), slice(left, left + width)
    cv2.copyTo(cv2.LUT(image_rgb[box], table), mask[box], out[box])


def _label(
    out: UInt8Array, taken: UInt8Array, contours: Sequence[Any], name: str, color: Color
) -> UInt8Array:
    """The name beside the largest region of a class, where it is large enough to point at.

    taken: (H, W), not 0 where an instrument is or a name; returns the same with this one
    """
    largest = max(contours, key=cv2.contourArea, default=None)
    height, width = out.shape[:2]
    if largest is None or cv2.contourArea(largest) < 0.004 * height * width or height < 120:
        return taken
    scale = max(0.4, height / 900)
    thick = max(1, round(scale * 1.6))
    name = in_font(name)
    (text_width, text_height), base = cv2.getTextSize(name, FONT, scale, thick)
    box_width, box_height = text_width + 8, text_height + base + 4
    moments = cv2.moments(largest)
    x, y = int(moments["m10"] / moments["m00"]), int(moments["m01"] / moments["m00"])
    left = max(0, min(x - box_width // 2, width - box_width))
    top = _free_row(taken, left, y, box_width, box_height)
    corner = (left + box_width, top + box_height)
    cv2.rectangle(out, (left, top), corner, (16, 18, 22), -1)
    place = (left + 4, top + text_height + 2)
    cv2.putText(out, name, place, FONT, scale, color, thick, cv2.LINE_AA)
    taken = taken.copy()
    taken[top : corner[1] + 1, left : corner[0] + 1] = 1
    return taken


def in_font(text: str) -> str:
    """As OpenCV's font can draw it: letters without their accents, a question mark for others."""
    letters = unicodedata.normalize("NFKD", text)
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    return plain.encode("ascii", "replace").decode()


def _free_row(taken: UInt8Array, left: int, middle: int, width: int, height: int) -> int:
    """Top of the box nearest to `middle` that hides no other name and no instrument's tip."""
    rows: int = taken.shape[0]
    last = rows - height
    start = max(0, min(middle - height // 2, last))
    step = max(1, height // 4)
    for distance in range(0, rows, step):
        for top in (start - distance, start + distance):
            if 0 <= top <= last:
                box = taken[top : top + height, left : left + width]
                if not cv2.hasNonZero(np.ascontiguousarray(box)):
                    return top
    return start


def draw_badge(image_rgb: UInt8Array, text: str, color: Color) -> None:
    """The state, burnt into the top left corner of the picture itself, in place."""
    height = image_rgb.shape[0]
    if height < 60:
        return
    scale = max(0.45, height / 800)
    thick = max(1, round(scale * 2))
    (text_width, text_height), base = cv2.getTextSize(text, FONT, scale, thick)
    pad = round(text_height * 0.6)
    corner = (pad * 2 + text_width + pad, pad + text_height + base + pad)
    cv2.rectangle(image_rgb, (pad, pad), corner, (12, 14, 18), -1)
    cv2.rectangle(image_rgb, (pad, pad), corner, color, thick)
    place = (pad * 2, pad + text_height + pad // 2 + 1)
    cv2.putText(image_rgb, text, place, FONT, scale, color, thick, cv2.LINE_AA)

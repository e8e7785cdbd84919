"""Draws masks over the picture: a tint, a crisp contour, names, and the badge of the state."""

from __future__ import annotations

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
    rows, columns = slice(top, top + height), slice(left, left + width)
    region, ids = out[rows, columns], np.ascontiguousarray(class_map[rows, columns])
    table = np.zeros((256, 1, 3), np.uint8)
    for class_id, color in palette.items():
        table[class_id, 0] = color
    tint = cv2.LUT(cv2.merge([ids] * 3), table)
    mixed = cv2.addWeighted(region, 1 - style.opacity, tint, style.opacity, 0)
    out[rows, columns] = cv2.copyTo(mixed, ids, np.ascontiguousarray(region))
    scale = max(image_rgb.shape[:2]) / 1000
    for class_id, color in palette.items():
        mask = (ids == class_id).astype(np.uint8)
        found, _ = cv2.findContours(
            mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
        )
        if style.contour:
            cv2.drawContours(out, found, -1, color, max(1, round(2 * scale)), cv2.LINE_AA)
        if class_id in style.names:
            _label(out, found, style.names[class_id], color)
    return out


def _label(out: UInt8Array, contours: Sequence[Any], name: str, color: Color) -> None:
    """The name beside the largest region of a class, where it is large enough to point at."""
    largest = max(contours, key=cv2.contourArea, default=None)
    height, width = out.shape[:2]
    if largest is None or cv2.contourArea(largest) < 0.004 * height * width or height < 120:
        return
    scale = max(0.4, height / 900)
    (text_width, text_height), base = cv2.getTextSize(name, FONT, scale, 1)
    moments = cv2.moments(largest)
    x = round(moments["m10"] / moments["m00"]) - text_width // 2
    y = round(moments["m01"] / moments["m00"]) + text_height // 2
    x, y = max(2, min(x, width - text_width - 2)), max(text_height + 2, min(y, height - 4))
    cv2.rectangle(
        out, (x - 4, y - text_height - 4), (x + text_width + 4, y + base), (16, 18, 22), -1
    )
    cv2.putText(out, name, (x, y), FONT, scale, color, max(1, round(scale * 1.6)), cv2.LINE_AA)


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

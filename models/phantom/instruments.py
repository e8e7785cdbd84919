"""Instruments drawn at a pose, with exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.phantom.looks import (
    CLIP_APPLIER,
    GRASPER,
    HOOK,
    NEEDLE_DRIVER,
    SCISSORS,
    SEALER,
    STRIP,
    STRIP_LENGTH,
    SUCTION,
    Look,
)
from models.types import UInt8Array

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Where an instrument is: tip base and direction in pixels, shaft width in pixels.

    base: (x, y) where the shaft ends; angle: of the shaft, towards the tip; bend: of the wrist
    opening: of the jaws, all angles in radians
    """

    base: Points
    angle: float
    width: float
    bend: float
    opening: float


class Canvas:
    """The frame being drawn, and who owns each pixel of it.

    image: (H, W, 3) uint8; owner: (H, W) uint8 instance id
    """

    def __init__(self, image: UInt8Array) -> None:
        self.image = image
        self.owner: UInt8Array = np.zeros(image.shape[:2], np.uint8)

    def polygon(self, points: Points, colour: npt.NDArray[np.float64], instance: int) -> None:
        """A filled polygon with sub-pixel corners, anti-aliased in the image, hard in the mask."""
        fixed = np.round(points * 16).astype(np.int32)
        shade = tuple(float(c) for c in np.clip(colour, 0, 255))
        cv2.fillPoly(self.image, [fixed], shade, cv2.LINE_AA, 4)
        cv2.fillPoly(self.owner, [fixed], instance, cv2.LINE_8, 4)

    def line(
        self,
        ends: tuple[Points, Points],
        colour: npt.NDArray[np.float64],
        width: float,
        instance: int,
    ) -> None:
        """A stroke on an instrument; where it stands out beyond it, the mask goes along."""
        first, last = fixed(ends[0]), fixed(ends[1])
        shade = tuple(float(c) for c in np.clip(colour, 0, 255))
        cv2.line(self.image, first, last, shade, max(1, round(width)), cv2.LINE_AA, 4)
        cv2.line(self.owner, first, last, instance, max(1, round(width)), cv2.LINE_8, 4)


def draw(canvas: Canvas, look: Look, pose: Pose, instance: int) -> None:
    """Draw one instrument over what is there."""
    _draw_shaft(canvas, look, pose, instance)
    heading = pose.angle + pose.bend
    joint = pose.base
    if look.class_id == SUCTION:
        _draw_tube(canvas, look, pose, instance)
        return
    if look.class_id == HOOK:
        _draw_hook(canvas, look, pose, instance)
        return
    length = look.wrist * pose.width
    _bar(canvas, joint, heading, (length, pose.width * 0.9), look.steel * 0.82, instance)
    _bar(canvas, joint, heading, (length * 0.25, pose.width * 0.98), look.steel * 1.1, instance)
    dark = joint + 0.55 * length * _unit(heading)
    rim = look.steel * (1 - 0.75 * look.mirror)
    _bar(canvas, dark, heading, (length * 0.22, pose.width * 0.86), rim, instance)
    tip_base = joint + length * _unit(heading)
    _draw_jaws(canvas, look, pose, (tip_base, heading), instance)
    pin = tip_base - 0.25 * pose.width * _unit(heading)
    _disc(canvas, pin, pose.width * 0.17, look.steel * 0.45)


def _draw_shaft(canvas: Canvas, look: Look, pose: Pose, instance: int) -> None:
    height, width = canvas.owner.shape
    length = 1.6 * (height + width)
    back = pose.base - length * _unit(pose.angle)
    side = _unit(pose.angle + np.pi / 2)
    near, far = pose.width / 2, pose.width / 2 * (1 + 0.35 * length / (height + width))
    quad = np.array(
        [pose.base - near * side, back - far * side, back + far * side, pose.base + near * side]
    )
    # The strip covers STRIP_LENGTH widths; what lies beyond repeats its last column.
    reach = min(1.0, STRIP_LENGTH * pose.width / length)
    edge = reach * STRIP * STRIP_LENGTH / (STRIP_LENGTH * pose.width / length)
    span = max(edge, 1.0)
    tail = near + (far - near) * reach
    cut = pose.base - reach * length * _unit(pose.angle)
    textured = np.array(
        [pose.base - near * side, cut - tail * side, cut + tail * side, pose.base + near * side]
    )
    canvas.polygon(quad, look.strip[STRIP // 2, -1].astype(np.float64), instance)
    source = np.array([[0, 0], [span - 1, 0], [span - 1, STRIP - 1], [0, STRIP - 1]], np.float32)
    warp = cv2.getPerspectiveTransform(source, textured.astype(np.float32))
    cv2.warpPerspective(
        look.strip, warp, (width, height), dst=canvas.image,
        flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT,
    )  # fmt: skip


def _draw_jaws(
    canvas: Canvas, look: Look, pose: Pose, tip: tuple[Points, float], instance: int
) -> None:
    base, heading = tip
    opening = pose.opening
    if look.class_id == CLIP_APPLIER:
        opening = 0.35 * opening + 0.12
    elif look.class_id == SCISSORS:
        opening = opening * 1.3 + 0.05
    for sign, tone in ((-1.0, 0.8), (1.0, 1.05)):
        outline = _jaw_outline(look, sign)
        turned = _turn(outline * pose.width, heading + sign * opening / 2) + base
        canvas.polygon(turned, look.steel * tone * 0.5, instance)
        inner = _turn(_shrink(outline) * pose.width, heading + sign * opening / 2) + base
        canvas.polygon(inner, look.steel * tone, instance)
        band = _turn(_shrink(outline, 0.34) * pose.width, heading + sign * opening / 2) + base
        canvas.polygon(band, look.steel * (tone - sign * 0.6 * look.mirror), instance)
        _jaw_marks(canvas, look, pose, (base, heading + sign * opening / 2, sign), instance)
        _stain(canvas, look, pose, (base, heading + sign * opening / 2))


def _stain(canvas: Canvas, look: Look, pose: Pose, jaw: tuple[Points, float]) -> None:
    """Blood and char on a jaw, the same blots in every frame."""
    base, heading = jaw
    turns = np.linspace(0, 2 * np.pi, 9)
    for number in range(1, 1 + round(7 * look.stain)):
        share, aside, phase = ((number * odd) % 1.0 for odd in (0.37, 0.71, 0.53))
        ragged = 1 + 0.5 * np.sin(3 * turns + 6 * phase) + 0.3 * np.sin(5 * turns + 9 * share)
        blot = np.stack([0.5 * np.cos(turns), 0.22 * np.sin(turns)], 1) * ragged[:, None]
        blot = blot * look.jaw * 0.25 * (0.5 + phase)
        blot += np.array([share * look.jaw, look.slim * (aside - 0.5)])
        blood = np.array([112.0, 12.0, 14.0]) * (0.3 + 0.8 * aside)
        corners = np.round((_turn(blot, heading) * pose.width + base) * 16).astype(np.int32)
        shade = tuple(float(c) for c in blood)
        cv2.fillPoly(canvas.image, [corners], shade, cv2.LINE_AA, 4)


def _jaw_outline(look: Look, sign: float) -> Points:
    """One jaw, along x, in shaft widths; its inner side faces the other jaw."""
    length, thick = look.jaw, look.slim
    along = np.linspace(0, 1, 7)
    bend = look.curve * np.sin(along * np.pi) + (0.18 * along**2 if sign < 0 else 0.0)
    if look.class_id == CLIP_APPLIER:
        bend = bend - sign * 0.35 * along * (1 - along) * 4 * 0.5
    taper = {
        GRASPER: 1 - 0.35 * along**3,
        SCISSORS: 1 - 0.92 * along**1.3,
        CLIP_APPLIER: 1.05 - 0.2 * along,
        NEEDLE_DRIVER: 1 - 0.5 * along**1.5,
        SEALER: 1 - 0.45 * along**6,
    }[look.class_id]
    outer = np.stack([along * length, bend + sign * thick * taper], 1)
    inner = np.stack([along * length, bend - sign * 0.04], 1)
    return np.concatenate([outer, inner[::-1]])


def _shrink(outline: Points, thick: float = 0.72) -> Points:
    centre = outline.mean(0)
    inner: Points = centre + (outline - centre) * np.array([0.94, thick])
    return inner


def _jaw_marks(
    canvas: Canvas, look: Look, pose: Pose, jaw: tuple[Points, float, float], instance: int
) -> None:
    base, heading, sign = jaw
    unit, side = _unit(heading) * pose.width, _unit(heading + np.pi / 2) * pose.width * sign
    middle = look.slim * 0.5
    if look.class_id == GRASPER:
        ends = (base + 0.35 * look.jaw * unit + middle * side, base + 0.8 * look.jaw * unit)
        slot = (ends[0], ends[1] + middle * side)
        canvas.line(slot, look.steel * 0.25, pose.width * 0.16, instance)
    if look.class_id in (GRASPER, NEEDLE_DRIVER) and look.serrated and pose.width > 9:
        for place in np.linspace(0.2, 0.95, 8):
            start = base + place * look.jaw * unit
            canvas.line((start, start + 0.3 * look.slim * side), look.steel * 0.35, 1, instance)
    glint = base + 0.15 * look.jaw * unit + 0.75 * middle * 1.3 * side
    streak = (glint, glint + 0.55 * look.jaw * unit)
    canvas.line(streak, look.steel * 1.45, pose.width * 0.06, instance)


def _draw_tube(canvas: Canvas, look: Look, pose: Pose, instance: int) -> None:
    length, thick = look.jaw * pose.width * 1.1, pose.width * 0.62
    _bar(canvas, pose.base, pose.angle, (length, thick), look.steel * 0.85, instance)
    end = pose.base + length * _unit(pose.angle)
    circle = end + thick / 2 * np.stack(
        [np.cos(np.linspace(0, 6.3, 12)), np.sin(np.linspace(0, 6.3, 12))], 1
    )
    canvas.polygon(circle, look.steel * 0.8, instance)
    _disc(canvas, end, thick * 0.27, look.steel * 0.12)
    for place in (0.55, 0.75, 0.92):
        _disc(
            canvas, pose.base + place * length * _unit(pose.angle), thick * 0.12, look.steel * 0.1
        )


def _draw_hook(canvas: Canvas, look: Look, pose: Pose, instance: int) -> None:
    collar = pose.width * 0.6
    white = np.array([214.0, 206.0, 190.0]) if look.serrated else look.steel * 0.4
    _bar(canvas, pose.base, pose.angle, (collar * 0.9, pose.width * 0.7), white, instance)
    start = pose.base + collar * 0.8 * _unit(pose.angle)
    rod, length = pose.width * 0.26, look.jaw * pose.width * 0.75
    _bar(canvas, start, pose.angle, (length, rod), look.steel, instance)
    turn = 1.0 if look.curve > 0 else -1.0
    corner = start + (length - rod / 2) * _unit(pose.angle)
    hook_angle = pose.angle + turn * (1.35 + look.curve * 0.5)
    _bar(canvas, corner, hook_angle, (pose.width * 0.95, rod), look.steel * 1.1, instance)


def _bar(
    canvas: Canvas,
    start: Points,
    angle: float,
    size: tuple[float, float],
    colour: npt.NDArray[np.float64],
    instance: int,
) -> None:
    """A metal bar of (length, thickness) from start: dark rim, body, bright streak."""
    along, across = size[0] * _unit(angle), size[1] / 2 * _unit(angle + np.pi / 2)
    for share, tone in ((1.0, 0.5), (0.72, 0.9), (0.4, 1.15)):
        edge = share * across
        corners = [start - edge, start + along - edge, start + along + edge, start + edge]
        canvas.polygon(np.array(corners), colour * tone, instance)
    shift = 0.25 * across
    canvas.line((start - shift, start + along - shift), colour * 1.5, size[1] * 0.1, instance)


def _disc(canvas: Canvas, centre: Points, radius: float, colour: npt.NDArray[np.float64]) -> None:
    fixed = tuple(int(v) for v in np.round(centre * 16))
    shade = tuple(float(c) for c in np.clip(colour, 0, 255))
    cv2.circle(canvas.image, fixed, max(8, int(radius * 16)), shade, -1, cv2.LINE_AA, 4)


def fixed(point: Points) -> tuple[int, int]:
    """In sixteenths of a pixel."""
    return round(float(point[0]) * 16), round(float(point[1]) * 16)


def _unit(angle: float) -> Points:
    return np.array([np.cos(angle), np.sin(angle)])


def _turn(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return turned

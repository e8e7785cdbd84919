"""The patient: a large patch of lit, wet tissue, drawn once per clip and then only moved."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.phantom.noise import Float, field, lobules, pleats
from models.types import UInt8Array

# RGB of tissues under a xenon light; each procedure draws its own variation around them.
TISSUES: dict[str, tuple[int, int, int]] = {
    "peritoneum": (196, 112, 52),
    "serosa": (206, 128, 128),
    "uterus": (214, 158, 156),
    "liver": (118, 42, 34),
    "muscle": (158, 52, 46),
    "fat": (218, 168, 66),
    "pale_fat": (226, 196, 132),
    "mesentery": (186, 136, 108),
    "bowel": (204, 120, 104),
    "gallbladder": (128, 128, 84),
    "bruise": (120, 62, 88),
}


RARE = ("gallbladder", "bruise")


@dataclass(frozen=True)
class Anatomy:
    """What the clips of one procedure share.

    albedo: (S, S, 3) float32 0 to 255; height: (S, S) float32; wetness: (S, S) float32 0 to 1
    """

    albedo: Float
    height: Float
    wetness: Float


def grow(rng: np.random.Generator, side: int) -> Anatomy:
    """A patch of tissue: organs, folds, lobulated fat, vessels, dark recesses."""
    names = list(TISSUES)
    odds = np.array([0.15 if name in RARE else 1.0 for name in names])
    kinds = rng.choice(names, size=4, replace=False, p=odds / odds.sum())
    tint = rng.uniform(0.9, 1.1) * rng.uniform(0.93, 1.07, 3)
    folds = 1 - np.abs(field(rng, side, int(rng.integers(2, 5)), 3))
    bumps = field(rng, side, int(rng.integers(8, 20)), 3)
    height = (folds * rng.uniform(0.3, 1.3) + bumps * rng.uniform(0.05, 0.4)).astype(np.float32)
    height += pleats(rng, side, rng.uniform(2, 7)) * np.float32(rng.uniform(0, 1.2))
    albedo = np.empty((side, side, 3), np.float32)
    albedo[:] = np.array(TISSUES[kinds[0]]) * tint
    for kind in kinds[1:]:
        where = field(rng, side, int(rng.integers(2, 5)), 4) - rng.uniform(-0.1, 0.4)
        cover = np.clip(where * rng.uniform(1.5, 9) + 0.5, 0, 1)
        cover = cover * cover * (3 - 2 * cover)
        if kind in ("fat", "pale_fat"):
            cells = lobules(rng, side, int(rng.integers(60, 350)))
            height += cover * cells * 0.5
            colour = np.array(TISSUES[kind]) * (0.72 + 0.28 * cells[..., None])
        else:
            height += cover * np.float32(rng.uniform(-0.3, 0.5))
            colour = np.broadcast_to(np.array(TISSUES[kind], np.float32), albedo.shape)
        albedo += cover[..., None] * (colour * tint - albedo)
    mottle = field(rng, side, 24, 4)
    fibres = cv2.resize(field(rng, side, 60)[: side // 4], (side, side))
    albedo *= (1 + 0.16 * mottle + 0.1 * fibres)[..., None]
    grain = field(rng, side, int(rng.integers(90, 180)), 2)  # the surface itself, sharp in focus
    albedo *= (1 + np.float32(rng.uniform(0, 0.22)) * grain)[..., None]
    height += np.float32(rng.uniform(0, 0.05)) * grain
    pallor = np.clip(field(rng, side, 4, 4) * 1.6 - 0.3, 0, rng.uniform(0.1, 0.6))
    albedo += pallor[..., None] * (np.array([226, 190, 172], np.float32) - albedo)
    blush = np.clip(field(rng, side, 6, 4) * 1.6 - 0.2, 0, rng.uniform(0.1, 0.6))
    albedo *= 1 - blush[..., None] * np.array([0.25, 0.6, 0.55], np.float32)
    _vessels(albedo, rng, tint)
    _recesses(albedo, rng)
    wetness = np.clip(0.55 + 0.6 * field(rng, side, 5, 2), 0, 1)
    return Anatomy(albedo, height, wetness)


def _vessels(albedo: Float, rng: np.random.Generator, tint: npt.NDArray[np.float64]) -> None:
    side = len(albedo)
    layer = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(3, 16))):
        steps = np.cumsum(rng.normal(0, 0.35, 40)) + rng.uniform(0, 2 * np.pi)
        stride = side * rng.uniform(0.008, 0.02)
        path = rng.uniform(0, side, 2) + np.cumsum(
            np.stack([np.cos(steps), np.sin(steps)], 1) * stride, 0
        )
        width = int(rng.integers(1, max(2, side // 130)))
        strength = int(rng.integers(70, 220))
        cv2.polylines(layer, [path.astype(np.int32)], False, strength, width, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(layer, (0, 0), side / 500), np.float32)
    colour = np.array([120, 20, 30] if rng.random() < 0.7 else [70, 40, 80]) * tint
    albedo += (soft[..., None] / 255.0 * rng.uniform(0.35, 0.8)) * (colour - albedo)


def _recesses(albedo: Float, rng: np.random.Generator) -> None:
    if rng.random() < 0.6:
        deep = np.clip(field(rng, len(albedo), 3, 2) * 3 - rng.uniform(0.5, 1.5), 0, 1)
        albedo *= (1 - rng.uniform(0.5, 0.93) * deep)[..., None]


@dataclass(frozen=True)
class Stage:
    """The tissue as lit in one clip.

    image: (S, S, 3) uint8; sparkle: (S, S) uint8 highlights that come and go with the camera
    fold: (S, S) uint8 255 where tissue hangs over the instruments, or None
    """

    image: UInt8Array
    sparkle: UInt8Array
    fold: UInt8Array | None


def light(anatomy: Anatomy, rng: np.random.Generator) -> Stage:
    """Shade the tissue for a clip: direction of light, blood, gauze, a fold, wet highlights."""
    side = len(anatomy.height)
    fold = _fold(rng, side) if rng.random() < 0.35 else None
    height = anatomy.height if fold is None else anatomy.height + fold * np.float32(0.8)
    relief = side / 50 * rng.uniform(0.5, 1.3)
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=0.25 * relief)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=0.25 * relief)
    toward = rng.normal(0, 0.5, 2)
    steep = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (1 - toward[0] * slope_x - toward[1] * slope_y) * steep
    shade = np.clip(0.3 + 0.75 * facing, 0.12, 1.5).astype(np.float32)
    albedo = anatomy.albedo
    wet = anatomy.wetness
    if rng.random() < 0.55:
        albedo, wet = _bleed(albedo, wet, height, rng)
    if rng.random() < 0.12:
        albedo = _gauze(albedo, rng)
    ripple = field(rng, side, 70, 2) * rng.uniform(0.1, 0.5)
    tilt = (slope_x + ripple - toward[0]) ** 2 + (slope_y - 0.7 * ripple - toward[1]) ** 2
    shine = np.exp(-tilt / rng.uniform(0.01, 0.07)) * wet
    glare = float(rng.uniform(30, 230))
    exposure = rng.uniform(0.55, 1.1)
    image = albedo * (shade * exposure)[..., None] + (shine * glare)[..., None]
    small_regions = field(rng, side, int(rng.integers(40, 120)), 2)
    drops = np.clip(small_regions * 4 - rng.uniform(1.4, 2.6), 0, 1)
    drops *= np.clip(field(rng, side, 7, 2) * 2.5 + rng.uniform(-0.6, 0.4), 0, 1)  # in clusters
    sparkle = (drops + 0.6 * np.exp(-tilt / 0.008)) * wet * facing
    return Stage(
        np.clip(image, 0, 255).astype(np.uint8),
        np.clip(sparkle * rng.uniform(120, 320), 0, 255).astype(np.uint8),
        None if fold is None else (fold > 0.5).astype(np.uint8) * 255,
    )


def _fold(rng: np.random.Generator, side: int) -> Float:
    """A bulge of tissue somewhere near the middle. (S, S) 0 to 1, smooth at its border"""
    centre, axes = rng.uniform(0.38, 0.62, 2), rng.uniform(0.05, 0.15, 2)
    place = np.arange(side, dtype=np.float32) / side
    x, y = (place[None] - centre[0]) / axes[0], (place[:, None] - centre[1]) / axes[1]
    skew = float(rng.uniform(-0.8, 0.8))
    inside = 1 - np.sqrt(x * x + y * y + skew * x * y) + 0.9 * field(rng, side, 7, 3)
    return np.asarray(np.clip(inside * 3, 0, 1), np.float32)


def _bleed(
    albedo: Float, wet: Float, height: Float, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Blood pools in the low places: dark, smooth, wet."""
    pool = field(rng, len(albedo), int(rng.integers(3, 8)), 3) - 0.35 * height
    cover = np.clip((pool - rng.uniform(0.0, 0.4)) * 7, 0, 1) * rng.uniform(0.5, 0.95)
    blood = np.array([rng.uniform(90, 165), rng.uniform(4, 22), rng.uniform(6, 24)], np.float32)
    bloody: Float = albedo + cover[..., None] * (blood - albedo)
    return bloody, np.maximum(wet, cover)


def _gauze(albedo: Float, rng: np.random.Generator) -> Float:
    """A corner of white woven gauze, sometimes stained."""
    side = len(albedo)
    ramp = np.arange(side, dtype=np.float32) * np.float32(2 * np.pi / rng.uniform(4, 8))
    weave = 0.86 + 0.07 * (np.sin(ramp)[None] + np.sin(ramp)[:, None])
    where = np.clip((field(rng, side, 2, 2) - rng.uniform(0.1, 0.5)) * 20, 0, 1)
    white = np.array([226, 218, 206], np.float32) * weave[..., None]
    stain = np.clip(field(rng, side, 6, 2) * 2, 0, 0.8)[..., None]
    stained = white + stain * (np.array([170, 50, 40], np.float32) - white)
    covered: Float = albedo + where[..., None] * (stained - albedo)
    return covered

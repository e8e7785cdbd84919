"""The scope: its motion over the tissue, its light, what is in the air, and its electronics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.phantom.anatomy import Stage
from models.phantom.instruments import Canvas
from models.phantom.noise import Wobble, field
from models.types import UInt8Array

RAMP_S = 0.3


@dataclass(frozen=True)
class Shift:
    """A change of appearance from at_s seconds on, ramping in over 0.3 s.

    light: factor of the exposure; warmth: red gain, blue gets its inverse
    smoke: added density, 0 to 1; blood: share of a red film over the lens, 0 to 1
    """

    at_s: float
    light: float = 0.6
    warmth: float = 1.15
    smoke: float = 0.4
    blood: float = 0.2

    def amount(self, t: float) -> float:
        """How far the change has come in, 0 to 1."""
        return float(np.clip((t - self.at_s) / RAMP_S, 0, 1))


@dataclass(frozen=True)
class Camera:
    """Everything between the scene and the recorded frame, for one clip."""

    size: tuple[int, int]
    zoom: float
    centre: tuple[float, float]
    sway: tuple[Wobble, Wobble, Wobble, Wobble, Wobble]
    travel: float
    gain: npt.NDArray[np.float64]
    gamma: float
    flicker: float
    smoke: float
    smoke_map: UInt8Array
    shading: UInt8Array
    scope: UInt8Array | None
    defocus: float
    streak: int
    sharpening: float
    noise: npt.NDArray[np.int16]
    quality: int

    @classmethod
    def random(cls, rng: np.random.Generator, size: tuple[int, int]) -> Camera:
        """A scope for a clip of (height, width) pixels."""
        height, width = size
        gain = np.array([1.0, rng.uniform(0.86, 1.08), rng.uniform(0.8, 1.15)])
        level = rng.uniform(1.5, 9) if rng.random() < 0.7 else 0.5
        return cls(
            size=size,
            zoom=float(rng.uniform(0.7, 1.6)),
            centre=(float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.42, 0.58))),
            sway=tuple(Wobble.random(rng, 0.04, 0.4) for _ in range(5)),  # type: ignore[arg-type]
            travel=float(rng.choice([0.01, 0.04, 0.09])),
            gain=gain * rng.uniform(0.85, 1.15),
            gamma=float(rng.uniform(0.8, 1.25)),
            flicker=float(rng.uniform(0, 0.03)),
            smoke=float(rng.uniform(0.12, 0.6)) if rng.random() < 0.3 else 0.0,
            smoke_map=_smoke_map(rng),
            shading=_shading(rng, size),
            scope=_scope(rng, size) if rng.random() < 0.3 else None,
            defocus=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.45 else 0.0,
            streak=int(rng.integers(3, 8)) if rng.random() < 0.15 else 0,
            sharpening=float(rng.uniform(0.3, 1.2)) if rng.random() < 0.4 else 0.0,
            noise=rng.normal(0, level, (height + 32, width + 32)).astype(np.int16),
            quality=int(rng.integers(35, 95)),
        )

    def view(self, t: float, side: int) -> npt.NDArray[np.float64]:
        """2x3 matrix from the tissue patch of `side` pixels to the frame at t seconds."""
        height, width = self.size
        pan_x, pan_y, near, roll, breath = self.sway
        scale = self.zoom * max(self.size) / (0.62 * side) * (1 + 0.12 * self.travel * 10 * near(t))
        angle = 8 * self.travel * roll(t)
        x = (self.centre[0] + self.travel * pan_x(t)) * side
        y = (self.centre[1] + self.travel * pan_y(t) + 0.006 * breath(t * 2)) * side
        matrix = cv2.getRotationMatrix2D((x, y), float(np.degrees(angle)), max(scale, 0.75))
        matrix[:, 2] += np.array([width / 2 - x, height / 2 - y])
        return np.asarray(matrix, dtype=np.float64)

    def tissue(self, stage: Stage, to_frame: npt.NDArray[np.float64], t: float) -> UInt8Array:
        """The tissue as the scope sees it. (H, W, 3) uint8"""
        height, width = self.size
        image, sparkle = (
            cv2.warpAffine(layer, to_frame, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            for layer in (stage.image, stage.sparkle)
        )
        strength = 0.55 + 0.45 * self.sway[4](t * 3)
        glint = cv2.convertScaleAbs(cv2.merge([sparkle] * 3), alpha=strength)
        return _u8(cv2.add(image, glint))

    def vignette(self, canvas: Canvas) -> None:
        """Fall-off of the light, and the round edge of the scope, which hides what is behind it."""
        cv2.multiply(canvas.image, self.shading, dst=canvas.image, scale=1 / 200)
        if self.scope is not None:
            canvas.owner[self.scope < 128] = 0

    def expose(
        self, image: UInt8Array, t: float, shift: Shift | None, seed: list[int]
    ) -> UInt8Array:
        """Smoke, focus, white balance, sensor noise and compression."""
        amount = 0.0 if shift is None else shift.amount(t)
        extra = 0.0 if shift is None else amount * shift.smoke
        density = self.smoke * (0.7 + 0.3 * self.sway[0](t * 2)) + extra
        if density > 0.02:
            image = self._smoke(image, density, t)
        if shift is not None and amount * shift.blood > 0:
            film = np.empty_like(image)
            film[:] = (110, 8, 10)
            share = amount * shift.blood
            image = _u8(cv2.addWeighted(image, 1 - share, film, share, 0))
        if self.defocus:
            image = _u8(cv2.GaussianBlur(image, (0, 0), self.defocus * min(self.size) / 256))
        if self.streak:
            length = max(3, round(self.streak * min(self.size) / 256))
            across = self.sway[1](0.0) > 0
            image = _u8(cv2.blur(image, (length, 1) if across else (1, length)))
        image = self._sense(_u8(cv2.LUT(image, self._tone(t, shift, amount))), t, seed)
        if self.sharpening:  # as camera units do, noise and all
            soft = cv2.GaussianBlur(image, (0, 0), 1.2 * min(self.size) / 256)
            image = _u8(cv2.addWeighted(image, 1 + self.sharpening, soft, -self.sharpening, 0))
        if self.scope is not None:
            cv2.multiply(image, cv2.merge([self.scope] * 3), dst=image, scale=1 / 255)
        return _compress(image, self.quality)

    def _smoke(self, image: UInt8Array, density: float, t: float) -> UInt8Array:
        height, width = self.size
        side = len(self.smoke_map)
        drift = (0.25 + 0.2 * self.sway[1](0.5 * t), 0.25 + 0.2 * self.sway[2](0.5 * t))
        step = np.array([[side / 2 / width, 0, drift[0] * side], [0, side / 2 / height, 0]])
        step[1, 2] = drift[1] * side
        plume = cv2.warpAffine(
            self.smoke_map, step, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        alpha = cv2.merge([cv2.convertScaleAbs(plume, alpha=min(density * 1.6, 1.0))] * 3)
        clear = cv2.multiply(image, 255 - alpha, scale=1 / 255)
        haze = cv2.convertScaleAbs(alpha, alpha=0.72)
        return _u8(cv2.add(clear, haze))

    def _tone(self, t: float, shift: Shift | None, amount: float) -> UInt8Array:
        """Exposure, white balance and gamma as a table, (256, 1, 3)."""
        gain = self.gain * (1 + self.flicker * np.sin(2 * np.pi * 3.3 * t))
        if shift is not None:
            warm = np.array([shift.warmth, 1.0, 1 / shift.warmth]) * shift.light
            gain = gain * (1 + amount * (warm - 1))
        levels = (np.arange(256) / 255.0) ** self.gamma
        return _u8(np.clip(levels[:, None, None] * gain * 255, 0, 255))

    def _sense(self, image: UInt8Array, t: float, seed: list[int]) -> UInt8Array:
        height, width = self.size
        place = np.random.default_rng([*seed, 6, round(t * 1e4)]).integers(0, 32, 2)
        grain = self.noise[place[0] : place[0] + height, place[1] : place[1] + width]
        noisy = cv2.add(image, cv2.merge([grain] * 3), dtype=cv2.CV_8U)  # saturates
        return _u8(noisy)


def _u8(image: Any) -> UInt8Array:
    """OpenCV's result as what it is: its stubs do not say."""
    return np.asarray(image, dtype=np.uint8)


def _smoke_map(rng: np.random.Generator) -> UInt8Array:
    plume = field(rng, 192, 5, 3) * 0.5 + 0.55
    return _u8(np.clip(plume, 0, 1) * 255)


def _shading(rng: np.random.Generator, size: tuple[int, int]) -> UInt8Array:
    """Light per pixel, 200 means unchanged. (H, W, 3)"""
    height, width = size
    y = (np.arange(height, dtype=np.float32)[:, None] / height - rng.uniform(0.4, 0.6)) * 2
    x = (np.arange(width, dtype=np.float32)[None] / width - rng.uniform(0.4, 0.6)) * 2
    radius = x * x + y * y
    fall = rng.uniform(0.9, 1.25) - rng.uniform(0.05, 0.42) * radius
    level = np.clip(fall * 200, 30, 255).astype(np.uint8)
    return _u8(cv2.merge([level] * 3))


def _scope(rng: np.random.Generator, size: tuple[int, int]) -> UInt8Array:
    """255 inside the round picture of a scope, 0 outside. (H, W)"""
    height, width = size
    mask = np.zeros(size, np.uint8)
    middle = (round(width * rng.uniform(0.48, 0.52)), round(height * rng.uniform(0.48, 0.52)))
    radius = round(min(size) * rng.uniform(0.46, 0.62))
    cv2.circle(mask, middle, radius, 255, -1, cv2.LINE_AA)
    return mask


def _compress(image: UInt8Array, quality: int) -> UInt8Array:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("JPEG encoder refused a frame")
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return _u8(decoded)

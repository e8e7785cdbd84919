"""Another lamp and another camera: light, colour, haze, softness and noise of a training frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

Floats = npt.NDArray[np.float32]

GREYED, SHADED, HAZED, SOFT, NOISY = 0.2, 0.4, 0.15, 0.4, 0.5  # shares of draws


@dataclass(frozen=True)
class Light:
    """What a lamp and a camera do to every frame of a draw."""

    gain: Floats
    gamma: float
    saturation: float
    contrast: float
    shaded: bool
    haze: float

    @classmethod
    def random(cls, rng: Generator) -> Light:
        return cls(
            gain=rng.uniform(0.75, 1.25, 3).astype(np.float32) * np.float32(rng.uniform(0.8, 1.2)),
            gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
            saturation=float(
                rng.uniform(0, 0.4) if rng.random() < GREYED else rng.uniform(0.5, 1.5)
            ),
            contrast=float(rng.uniform(0.7, 1.4)),
            shaded=bool(rng.random() < SHADED),
            haze=float(rng.uniform(0.1, 0.5) if rng.random() < HAZED else 0.0),
        )

    def on(self, image: Floats, rng: Generator) -> Floats:
        """image: (S, S, 3) 0 to 255, and what comes back"""
        side = len(image)
        lit = 255 * (np.clip(image * self.gain, 0, 255) / 255) ** self.gamma
        grey = lit.mean(axis=2, keepdims=True)
        lit = grey + self.saturation * (lit - grey)
        lit = lit.mean() + self.contrast * (lit - lit.mean())
        if self.shaded:
            lit *= np.exp(smooth(0.35 * rng.standard_normal((3, 3)), side))[..., None]
        if self.haze:
            density = self.haze * smooth(rng.uniform(0.3, 1, (3, 3)), side)[..., None]
            lit += density * (rng.uniform(150, 230) - lit)
        return np.asarray(lit, np.float32)


def smooth(values: npt.NDArray[np.float64], side: int) -> Floats:
    """(3, 3) -> (side, side)"""
    large = cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32)


def seen(image: Floats, rng: Generator) -> npt.NDArray[np.uint8]:
    """Through a lens and a sensor."""
    if rng.random() < SOFT:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3)), np.float32)
    if rng.random() < NOISY:
        image = image + rng.uniform(1, 8) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)

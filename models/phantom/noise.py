"""Smooth randomness: fields in space, signals in time; each a function of its generator alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]


def field(rng: np.random.Generator, side: int, cells: int, octaves: int = 1) -> Float:
    """Value noise, (side, side), about -1 to 1; `cells` random values per side in octave one."""
    total = np.zeros((side, side), np.float32)
    weight = 1.0
    for octave in range(octaves):
        count = min(cells * 2**octave, side)
        grid = rng.uniform(-1, 1, (count + 3, count + 3)).astype(np.float32)
        large = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        total += weight * large
        weight *= 0.5
    return np.asarray(total / (2 - 0.5 ** (octaves - 1)), np.float32)


def pleats(rng: np.random.Generator, side: int, count: float) -> Float:
    """Long, bent, parallel folds as of a stretched membrane, (side, side), -1 to 1.

    count: of folds from edge to edge, each as deep as chance has it
    """
    angle = rng.uniform(0, np.pi)
    place = np.arange(side, dtype=np.float32) / side
    along = np.float32(np.cos(angle)) * place[None] + np.float32(np.sin(angle)) * place[:, None]
    phase = along * np.float32(count) + field(rng, side, 3, 2) * np.float32(0.9)
    depth = np.clip(field(rng, side, 4, 2) + 0.5, 0, 1)
    return np.asarray(np.sin(2 * np.pi * phase) * depth, np.float32)


def lobules(rng: np.random.Generator, side: int, count: int) -> Float:
    """Rounded cells as of fat, (side, side), 1 in the middle of a cell and 0 at its border."""
    seeds = np.full((side, side), 255, np.uint8)
    place = rng.integers(0, side, (count, 2))
    seeds[place[:, 0], place[:, 1]] = 0
    distance = cv2.distanceTransform(seeds, cv2.DIST_L2, 3)
    reach = side / np.sqrt(count) * 0.75
    return np.asarray(np.clip(1 - (distance / reach) ** 2, 0, 1), np.float32)


@dataclass(frozen=True)
class Wobble:
    """A smooth signal of time, about -1 to 1: four sinusoids of random rate and phase."""

    rate: npt.NDArray[np.float64]
    phase: npt.NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator, slow: float, fast: float) -> Wobble:
        """Rates in hertz, drawn between slow and fast."""
        return cls(np.exp(rng.uniform(np.log(slow), np.log(fast), 4)), rng.uniform(0, 1, 4))

    def __call__(self, t: float) -> float:
        """The signal at t seconds."""
        waves = np.sin(2 * np.pi * (self.rate * t + self.phase))
        return float(waves @ np.array([0.45, 0.3, 0.15, 0.1]))

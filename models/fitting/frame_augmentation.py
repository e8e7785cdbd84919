"""A few annotated pictures as many: warped, in other light, with other things in them.

What a head trained on five pictures gets wrong is mostly tissue that it takes for an instrument. So
instruments are pasted onto other pictures, patches of tissue are laid over a picture, and crops in
which nothing is instrument are shown as a whole picture, large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from models.backbone.image_input import resize_image
from models.fitting.light import Light, seen
from models.types import IGNORE_ID, UInt8Array

Matrix = npt.NDArray[np.float64]

FINER, MOST_SIDE = 2, 512  # pixels a picture is kept at, for one the network takes; at most
PASTED, PATCHED, BARE = 0.4, 0.3, 0.25  # shares of draws
SCALES, TURN = (0.74, 1.57), 18.0  # of a warp; the standard deviation of its angle, degrees
MOVE = 0.12  # of its shift, in shares of the side
BARE_SIDES = (0.25, 0.7)  # of a crop without instrument, in shares of the picture
BARE_TRIALS = 24
PATCH = (0.08, 0.3)  # radii of a patch of tissue, in shares of the side
LEAST = 0.002  # of the picture: a smaller instrument is not worth pasting


@dataclass(frozen=True)
class LabelledPicture:
    """One annotated picture, square.

    image_rgb: (L, L, 3); region: (L, L) 0 tissue, 1 instrument, IGNORE_ID where nobody knows
    """

    image_rgb: UInt8Array
    region: UInt8Array

    @classmethod
    def of(
        cls, image_rgb: UInt8Array, mask: UInt8Array, class_ids: Sequence[int], size: int
    ) -> LabelledPicture:
        """For networks that take `size` pixels a side. mask: (H, W) class map; any class counts"""
        side = max(size, min(FINER * size, MOST_SIDE))
        region = np.where(mask == IGNORE_ID, IGNORE_ID, np.isin(mask, class_ids)).astype(np.uint8)
        square = cv2.resize(region, (side, side), interpolation=cv2.INTER_NEAREST)
        return cls(resize_image(image_rgb, side), np.asarray(square, np.uint8))


@dataclass(frozen=True)
class Augmentation:
    """Draws changed pictures of `size` pixels a side."""

    size: int

    def draw(
        self,
        one: LabelledPicture,
        others: Sequence[LabelledPicture],
        rng: Generator,
        *,
        bare: bool = True,
    ) -> LabelledPicture:
        """A variant of `one`; what is pasted or laid over it comes from the others.

        bare: it may be a crop without instrument instead
        """
        crop = _bare_crop(one, rng) if bare and rng.random() < BARE else None
        drawn = self._warped(one, rng) if crop is None else self._warped(crop, rng)
        if others and rng.random() < PATCHED:
            drawn = _patched(drawn, self._warped(_any(others, rng), rng), rng)
        if others and crop is None and rng.random() < PASTED:
            drawn = _pasted(drawn, self._warped(_any(others, rng), rng))
        lit = Light.random(rng).on(drawn.image_rgb.astype(np.float32), rng)
        return LabelledPicture(seen(lit, rng), drawn.region)

    def _warped(self, one: LabelledPicture, rng: Generator) -> LabelledPicture:
        matrix = _random_warp(len(one.region), self.size, rng)
        size = (self.size, self.size)
        scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
        image = one.image_rgb
        if scale < 0.6:  # or fine texture turns into noise
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.35 / scale), np.uint8)
        border = cv2.BORDER_REFLECT_101
        warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
        region = cv2.warpAffine(
            one.region,
            matrix,
            size,
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=IGNORE_ID,
        )
        return LabelledPicture(np.asarray(warped, np.uint8), np.asarray(region, np.uint8))


def _random_warp(side: int, size: int, rng: Generator) -> Matrix:
    """(2, 3) from a picture of `side` pixels to one of `size`."""
    scale = math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1]))) * size / side
    angle = math.radians(rng.normal(0, TURN))
    flips = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * turn * flips
    middle = size / 2 + size * rng.normal(0, MOVE, 2)
    return np.concatenate([linear, (middle - linear @ [side / 2, side / 2])[:, None]], axis=1)


def _bare_crop(one: LabelledPicture, rng: Generator) -> LabelledPicture | None:
    """A square of the picture in which nothing is instrument, or None if none was found."""
    side = len(one.region)
    for _ in range(BARE_TRIALS):
        window = round(side * rng.uniform(*BARE_SIDES))
        top, left = (int(place) for place in rng.integers(0, side - window + 1, 2))
        rows, columns = slice(top, top + window), slice(left, left + window)
        if not one.region[rows, columns].any():
            image = np.ascontiguousarray(one.image_rgb[rows, columns])
            return LabelledPicture(image, np.ascontiguousarray(one.region[rows, columns]))
    return None


def _pasted(drawn: LabelledPicture, other: LabelledPicture) -> LabelledPicture:
    """With the instruments of another picture of the same size in front."""
    inside = other.region == 1
    if inside.mean() < LEAST:
        return drawn
    return _laid_over(drawn, other.image_rgb, inside, 1)


def _patched(drawn: LabelledPicture, other: LabelledPicture, rng: Generator) -> LabelledPicture:
    """With a patch of another picture's tissue in front."""
    side = len(drawn.region)
    patch = np.zeros((side, side), np.uint8)
    centre = [int(value) for value in rng.integers(0, side, 2)]
    axes = [round(side * float(value)) for value in rng.uniform(*PATCH, 2)]
    cv2.ellipse(patch, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return _laid_over(drawn, other.image_rgb, (patch > 0) & (other.region == 0), 0)


def _laid_over(
    drawn: LabelledPicture, image_rgb: UInt8Array, inside: npt.NDArray[np.bool_], label: int
) -> LabelledPicture:
    cover = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)[..., None]
    image = drawn.image_rgb + cover * (image_rgb.astype(np.float32) - drawn.image_rgb)
    region = np.where(inside, label, drawn.region)
    return LabelledPicture(np.asarray(image, np.uint8), np.asarray(region, np.uint8))


def _any(others: Sequence[LabelledPicture], rng: Generator) -> LabelledPicture:
    return others[int(rng.integers(len(others)))]

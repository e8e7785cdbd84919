"""Rendered frames in other light, other colours and another framing than the phantom drew.

What tells an instrument from tissue in a phantom is partly its colour: a head trained on nothing
else misses a shaft that the tissue has lit brown. Here an instrument may have any mean colour, the
tissue's own more often than others, and only its shape and surface stay. For training alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor

from models.rendered_frames import REACH, RenderedFrames

Floats = npt.NDArray[np.float32]

TINTED, GREYED, SHADED, HAZED, SOFT, NOISY = 0.7, 0.2, 0.4, 0.15, 0.4, 0.5  # shares of draws
OF_TISSUE = 0.6  # share of tints that are the tissue's colour, in another brightness
ZOOMED, CLOSEST = 0.4, 1.7  # share of frames, and the largest enlargement


def recolored(frames: RenderedFrames, rng: Generator) -> RenderedFrames:
    """In one other light, and each kind of instrument in one other colour."""
    images = frames.image.permute(0, 2, 3, 1).numpy().astype(np.float32)
    if rng.random() < TINTED:
        _tint(images, frames, rng)
    light = _Light.random(rng)
    changed = np.stack([_seen(light.on(image, rng), rng) for image in images])
    return replace(frames, image=torch.from_numpy(changed).permute(0, 3, 1, 2))


def reframed(frames: RenderedFrames, rng: Generator) -> RenderedFrames:
    """Mirrored and enlarged."""
    each = [_reframed(frames, index, rng) for index in range(len(frames.image))]
    return RenderedFrames(*(torch.stack(values) for values in zip(*each, strict=True)))


def _tint(images: Floats, frames: RenderedFrames, rng: Generator) -> None:
    """Give each kind of instrument another mean colour, in place. images: (F, S, S, 3)"""
    tissue = images[frames.instance.numpy() == 0].mean(axis=0)
    tints = {}
    for kind in torch.unique(frames.kind).tolist():
        if rng.random() < OF_TISSUE:
            color = tissue * rng.uniform(0.15, 1.3) * rng.uniform(0.8, 1.25, 3)
        else:
            color = rng.uniform(10, 230) * rng.uniform(0.6, 1.4, 3)
        tints[kind] = (color, rng.uniform(0.4, 1.2), rng.uniform(0.3, 1.0))
    for image, instance, kinds in zip(images, frames.instance.numpy(), frames.kind, strict=True):
        for number in np.unique(instance[instance > 0]):
            inside = instance == number
            color, contrast, strength = tints[int(kinds[int(number)])]
            mean = image[inside].mean(axis=0)
            other = color + contrast * (image - mean)
            share = strength * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7)[..., None]
            image += share * (other - image)


@dataclass(frozen=True)
class _Light:
    """What a lamp and a camera do to every frame of a draw."""

    gain: Floats
    gamma: float
    saturation: float
    contrast: float
    shaded: bool
    haze: float

    @classmethod
    def random(cls, rng: Generator) -> _Light:
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
            lit *= np.exp(_smooth(0.35 * rng.standard_normal((3, 3)), side))[..., None]
        if self.haze:
            density = self.haze * _smooth(rng.uniform(0.3, 1, (3, 3)), side)[..., None]
            lit += density * (rng.uniform(150, 230) - lit)
        return np.asarray(lit, np.float32)


def _smooth(values: npt.NDArray[np.float64], side: int) -> Floats:
    """(3, 3) -> (side, side)"""
    large = cv2.resize(values.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32)


def _seen(image: Floats, rng: Generator) -> npt.NDArray[np.uint8]:
    """Through a lens and a sensor."""
    if rng.random() < SOFT:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3)), np.float32)
    if rng.random() < NOISY:
        image = image + rng.uniform(1, 8) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _reframed(frames: RenderedFrames, index: int, rng: Generator) -> tuple[Tensor, ...]:
    """Image, instance, pose and kind of one frame."""
    image, instance, pose, kind = (value[index] for value in vars(frames).values())
    pose = pose.clone()
    for axis in (0, 1):  # x, y
        if rng.random() < 0.5:
            image, instance = image.flip(2 - axis), instance.flip(1 - axis)
            pose[:, axis] = 1 - pose[:, axis]
            pose[:, 2 + axis] = -pose[:, 2 + axis]
    if rng.random() >= ZOOMED:
        return image, instance, pose, kind
    side = image.shape[-1]
    window = round(side / rng.uniform(1, CLOSEST))
    left, top = (int(place) for place in rng.integers(0, side - window + 1, 2))
    rows, columns = slice(top, top + window), slice(left, left + window)
    size = (side, side)
    near = cv2.resize(image[:, rows, columns].permute(1, 2, 0).numpy(), size)
    labels = instance[rows, columns].numpy()
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    pose[:, :2] = (pose[:, :2] * side - torch.tensor([left, top])) / window
    pose[:, :2] = pose[:, :2].clamp(-REACH, 1 + REACH)
    return torch.from_numpy(near).permute(2, 0, 1), torch.from_numpy(labels), pose, kind

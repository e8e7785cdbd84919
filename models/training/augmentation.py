"""Rendered frames in other light, other colours and another framing than the phantom drew.

What tells an instrument from tissue in a phantom is partly its colour: a head trained on nothing
else misses a shaft that the tissue has lit brown. Here an instrument may have any mean colour, the
tissue's own more often than others, and only its shape and surface stay. So that not everything
long is an instrument then, tissue gets folds, stretched bands and pale loops. For training alone.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator
from torch import Tensor

from models.fitting.light import Floats, Light, seen, smooth
from models.training.rendered_frames import REACH, RenderedFrames

TINTED = 0.7  # share of draws
BANDED = 0.5  # share of frames in which tissue is stretched to bands, or lies in folds
OF_TISSUE = 0.6  # share of tints that are the tissue's colour, darker
CROWDED = 0.8  # the same where there is no instrument
FOLDS = 0.35  # share of bands that are dark and soft at their edges
LOOPS = 0.3  # share of the others that are broad, pale and smooth, as bowel and fat are
ZOOMED, CLOSEST = 0.4, 1.7  # share of frames, and the largest enlargement


def recolored(frames: RenderedFrames, rng: Generator, *, banded: float = BANDED) -> RenderedFrames:
    """In one other light, and each kind of instrument in one other colour."""
    images = frames.image.permute(0, 2, 3, 1).numpy().astype(np.float32)
    for image, instance in zip(images, frames.instance.numpy(), strict=True):
        for _ in range(int(rng.integers(1, 4)) if rng.random() < banded else 0):
            _band(image, instance > 0, rng)
    if rng.random() < TINTED:
        _tint(images, frames, rng)
    light = Light.random(rng)
    changed = np.stack([seen(light.on(image, rng), rng) for image in images])
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
            color = tissue * rng.uniform(0.1, 0.6) * rng.uniform(0.8, 1.25, 3)
        else:
            color = rng.uniform(10, 230) * rng.uniform(0.6, 1.4, 3)
        tints[kind] = (color, rng.uniform(0.5, 1.2), rng.uniform(0.3, 1.0))
    for image, instance, kinds in zip(images, frames.instance.numpy(), frames.kind, strict=True):
        for number in np.unique(instance[instance > 0]):
            inside = instance == number
            color, contrast, strength = tints[int(kinds[int(number)])]
            mean = image[inside].mean(axis=0)
            other = color + contrast * (image - mean)
            share = strength * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7)[..., None]
            image += share * (other - image)


def _band(image: Floats, instrument: npt.NDArray[np.bool_], rng: Generator) -> None:
    """Lay a band of the picture's own tissue, or a dark fold, under the instruments, in place.

    image: (S, S, 3); instrument: (S, S)
    """
    side, fold = len(image), rng.random() < FOLDS
    loop = not fold and rng.random() < LOOPS
    away = _distance_from_a_curve(side, rng)
    uneven = np.exp(smooth(0.3 * rng.standard_normal((3, 3)), side))
    width = side * (rng.uniform(0.08, 0.2) if loop else rng.uniform(0.02, 0.14)) * uneven
    edge = side * (rng.uniform(0.008, 0.03) if fold else rng.uniform(0.004, 0.015))
    cover = 1 / (1 + np.exp(np.clip((away - width) / edge, -20, 20)))
    cover *= 1 - cv2.GaussianBlur(instrument.astype(np.float32), (0, 0), 0.7)
    depth = rng.uniform(0.2, 0.8) if loop else rng.uniform(0, 0.5)
    shade = 1 - depth * np.minimum(away / width, 1) ** 2
    if not loop:
        places = np.arange(0, 2 * side, 3)
        shade *= np.interp(away, places, rng.normal(1, 0.1, len(places)))
    tissue = np.where(instrument[..., None], image[~instrument].mean(axis=0), image)
    elsewhere = np.roll(tissue, rng.integers(0, side, 2).tolist(), (0, 1))
    other = cv2.GaussianBlur(elsewhere, (0, 0), rng.uniform(0.5, 3)) * rng.uniform(0.9, 1.1, 3)
    other = _pale(other, rng) if loop else other
    gain = rng.uniform(0.15, 0.5) if fold else rng.uniform(0.8, 1.7)
    other *= (gain * shade)[..., None]
    image += (cover[..., None] * (other - image)).astype(np.float32)


def _pale(tissue: npt.NDArray[np.float64], rng: Generator) -> npt.NDArray[np.float64]:
    """Yellow as fat or pale as bowel, and nearly even. (S, S, 3) 0 to 255, and what comes back"""
    even = cv2.GaussianBlur(tissue, (0, 0), 6)
    tint = rng.uniform((0.85, 0.55, 0.3), (1.1, 1.0, 0.95))
    pale = even.max(axis=2).mean() * tint
    return np.asarray(even + rng.uniform(0.4, 1) * (pale - even))


def _distance_from_a_curve(side: int, rng: Generator) -> Floats:
    """In pixels, from a bent line across the picture. (side, side)"""
    ends, bend = rng.uniform(-0.2, 1.2, (2, 2)) * side, rng.normal(0, 0.12, 2) * side
    along = np.linspace(0, 1, 24)[:, None]
    path = ends[0] + along * (ends[1] - ends[0]) + 4 * along * (1 - along) * bend
    elsewhere = np.full((side, side), 255, np.uint8)
    cv2.polylines(elsewhere, [np.round(path).astype(np.int32)], isClosed=False, color=0)
    away = cv2.distanceTransform(elsewhere, cv2.DIST_L2, 3)
    return np.asarray(np.minimum(away, 4 * side), np.float32)  # endless where no line is


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

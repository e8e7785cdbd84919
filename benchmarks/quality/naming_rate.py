"""How often does a visible instrument get its right name? And how often from its colour alone?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.fitting.annotated import Pair
from models.phantom import PhantomFrame
from models.types import BACKGROUND_ID, UNNAMED_ID, UInt8Array

VISIBLE_SHARE = 0.002  # of the frame: less of an instrument need not be named
RIDGE = 0.05  # of the colours' covariance


def visible_instances(frame: PhantomFrame) -> dict[int, int]:
    """Class by instance id, of those that cover enough of the frame."""
    area = np.bincount(frame.instance_mask.ravel(), minlength=256)
    shown = [i for i in np.flatnonzero(area) if i and area[i] >= VISIBLE_SHARE * area.sum()]
    return {int(i): int(frame.class_mask[frame.instance_mask == i][0]) for i in shown}


def rightly_named(found: UInt8Array, frame: PhantomFrame) -> list[float]:
    """Per visible instrument, 1 if the class drawn most on it is its own. found: (H, W)

    What is drawn as of unknown kind is of no class.
    """
    right = []
    for number, class_id in visible_instances(frame).items():
        drawn = found[frame.instance_mask == number]
        drawn = drawn[(drawn != BACKGROUND_ID) & (drawn != UNNAMED_ID)]
        right.append(float(len(drawn) > 0 and np.bincount(drawn).argmax() == class_id))
    return right


class ColourNames:
    """The baseline: true outlines, named by mean and spread of their colour alone."""

    def __init__(self, annotated: Sequence[Pair]) -> None:
        """annotated: image (H, W, 3) and class map (H, W)"""
        samples = [
            (int(i), _colour(image, truth == i))
            for image, truth in annotated
            for i in np.unique(truth)
            if i
        ]
        self._ids = sorted({i for i, _ in samples})
        self._mean = np.stack(
            [np.mean([c for i, c in samples if i == one], axis=0) for one in self._ids]
        )
        residual = np.stack([c - self._mean[self._ids.index(i)] for i, c in samples])
        spread = residual.T @ residual / len(samples) + RIDGE * np.eye(residual.shape[1])
        self._inverse = np.linalg.inv(spread)

    def rightly_named(self, frame: PhantomFrame) -> list[float]:
        """Per visible instrument, 1 if the class of the most similar colour is its own."""
        right = []
        for number, class_id in visible_instances(frame).items():
            away = self._mean - _colour(frame.image_rgb, frame.instance_mask == number)
            nearest = np.einsum("ij,jk,ik->i", away, self._inverse, away).argmin()
            right.append(float(self._ids[int(nearest)] == class_id))
        return right


def _colour(image: UInt8Array, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean and spread of the colour, relative to the rest of the picture. (6,)"""
    inside = image[mask] / 255.0
    rest = image[~mask] / 255.0
    return np.concatenate([inside.mean(0) - rest.mean(0), inside.std(0)])

"""A procedural body of ellipsoids with texture, and its labels: volumes to try and test with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.types import UInt8Array
from models.volumes.grid import Affine, Grid

AIR, FAT, SOFT = -1000.0, -100.0, 40.0  # HU


@dataclass(frozen=True)
class PhantomVolume:
    """voxels: (I, J, K) int16, Hounsfield units or, for MR, from 0 up; labels: (I, J, K) uint8"""

    voxels: npt.NDArray[np.int16]
    labels: UInt8Array
    grid: Grid


@dataclass(frozen=True)
class BodyConfig:
    """organs: labels 1 to n, in the same places in every body but for some millimetres.

    shape: (I, J, K); spacing_mm along them; turned: degrees about two axes; flipped: axes of the
    array that run the other way; mr: brightness without a unit instead of Hounsfield units
    """

    organs: int = 3
    shape: tuple[int, int, int] = (48, 40, 12)
    spacing_mm: tuple[float, float, float] = (3.0, 3.5, 8.0)
    turned: tuple[float, float] = (0.0, 0.0)
    flipped: tuple[bool, bool, bool] = (False, False, False)
    mr: bool = False


def phantom_volume(seed: int, config: BodyConfig | None = None) -> PhantomVolume:
    """One body. The same seed and configuration give the same voxels."""
    config = config or BodyConfig()
    rng = np.random.default_rng([seed, 77])
    axes = [np.linspace(-1, 1, side, dtype=np.float32) for side in config.shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))  # (3, I, J, K), body coordinates -1 to 1
    values = np.full(config.shape, AIR, np.float32)
    values[_inside(places, np.zeros(3), np.array([0.95, 0.9, 1.6]))] = FAT
    values[_inside(places, np.zeros(3), np.array([0.85, 0.78, 1.6]))] = SOFT - 30
    labels = np.zeros(config.shape, np.uint8)
    for organ in range(1, config.organs + 1):
        own = np.random.default_rng(organ)  # of the species, not of the patient
        turn = 2 * np.pi * organ / config.organs
        centre = np.array([0.48 * np.cos(turn), 0.42 * np.sin(turn), own.uniform(-0.2, 0.2)])
        radii = own.uniform(0.2, 0.32, 3) + np.array([0, 0, 0.4])
        where = _inside(places, centre + rng.normal(0, 0.03, 3), radii * rng.uniform(0.9, 1.1, 3))
        values[where] = SOFT + 160 * organ / config.organs
        labels[where] = organ
    values += _texture(rng, config.shape)
    if config.mr:
        values = (values - AIR) * 0.5
    voxels = np.rint(values).astype(np.int16)
    return PhantomVolume(voxels, labels, Grid(config.shape, body_affine(config)))


def body_affine(config: BodyConfig) -> Affine:
    """(4, 4) RAS millimetres: turned, flipped, and not at the origin."""
    about_z, about_x = np.radians(config.turned)
    turn_z = np.array(
        [[np.cos(about_z), -np.sin(about_z), 0], [np.sin(about_z), np.cos(about_z), 0], [0, 0, 1]]
    )
    turn_x = np.array(
        [[1, 0, 0], [0, np.cos(about_x), -np.sin(about_x)], [0, np.sin(about_x), np.cos(about_x)]]
    )
    signs = [-1.0 if flipped else 1.0 for flipped in config.flipped]
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_x @ np.diag(np.multiply(signs, config.spacing_mm))
    affine[:3, 3] = (-61.25, 17.5, 203.125)
    return affine


def _inside(
    places: npt.NDArray[np.float32], centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """places: (3, I, J, K); centre, radii: (3,) in body coordinates"""
    distance = sum(((places[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3))
    return np.asarray(distance < 1)


def _texture(rng: np.random.Generator, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Noise of two sizes, about 12 HU."""
    fine = rng.normal(0, 8, shape).astype(np.float32)
    coarse = rng.normal(0, 40, shape).astype(np.float32)
    blurred = cv2.GaussianBlur(coarse.reshape(shape[0], -1), (0, 0), 2)
    return fine + np.asarray(blurred, np.float32).reshape(shape)

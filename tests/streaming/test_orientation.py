"""Recordings that are to be turned or mirrored: the picture stands as a player shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.types import UInt8Array
from tests.support.odd_clips import Clip, read, write

ONE, UNIT = 1 << 16, 1 << 30
# Each matrix, and what it makes of rows (down) and columns (right) of the stored picture.
MATRICES = {
    "as stored": ([ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT], lambda a: a),
    "mirrored": ([-ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT], lambda a: a[:, ::-1]),
    "upside down": ([ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT], lambda a: a[::-1]),
    "half a turn": ([-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT], lambda a: a[::-1, ::-1]),
    "clockwise": ([0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT], lambda a: np.rot90(a, -1)),
    "anticlockwise": ([0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT], lambda a: np.rot90(a)),
    "transposed": ([0, ONE, 0, ONE, 0, 0, 0, 0, UNIT], lambda a: a.swapaxes(0, 1)),
    "other diagonal": (
        [0, -ONE, 0, -ONE, 0, 0, 0, 0, UNIT],
        lambda a: a[::-1, ::-1].swapaxes(0, 1),
    ),
    "no matrix at all": ([0] * 9, lambda a: a),
}


def corner(number: int, size: tuple[int, int]) -> UInt8Array:
    """Each quarter has a brightness of its own."""
    height, width = size
    image = np.full((height, width, 3), 30, np.uint8)
    image[: height // 2, width // 2 :] = 100
    image[height // 2 :, : width // 2] = 170
    image[height // 2 :, width // 2 :] = 240
    return image


@pytest.mark.parametrize("name", MATRICES)
def test_a_recording_stands_upright(tmp_path: Path, name: str) -> None:
    matrix, shown = MATRICES[name]
    clip = Clip(frames=3, size=(64, 96), matrix=matrix, draw=corner)
    frames, video = read(write(tmp_path / "a.mp4", clip))
    expected = shown(corner(0, (64, 96)))
    assert video.size == expected.shape[:2]
    for frame in frames:
        assert frame.image_rgb.shape == expected.shape
        assert frame.image_rgb.flags.c_contiguous
        inner = np.s_[8:-8:8, 8:-8:8]
        difference = frame.image_rgb[inner].astype(int) - expected[inner]
        assert np.median(np.abs(difference)) < 10


def test_pixels_that_are_not_square_turn_with_the_picture(tmp_path: Path) -> None:
    clip = Clip(frames=3, size=(64, 96), matrix=MATRICES["clockwise"][0], draw=corner)
    _, video = read(write(tmp_path / "a.mp4", clip))
    assert video.pixel_aspect == 1

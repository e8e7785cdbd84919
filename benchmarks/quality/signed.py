"""A model whose mask spells the number of the frame it was computed from.

The number is read from the frame's own mark, so that a mask drawn on another frame than its own
shows: mark and mask then say different numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from models.types import ClassResult, ClassSpec, Click, Segmentation, UInt8Array, Update
from service.live.phantom_source import PhantomScenes, PhantomUrl
from streaming.mark import draw_mark, read_mark

CELL, COLUMNS, BITS = 20, 8, 16  # cells of 20 pixels survive contours of two
ROWS = 2 * BITS // COLUMNS
DIFFERENT = 100  # phantom pictures, played to and fro
CLASS = ClassSpec(1, "", "#00ff00")
GREY = 100  # of the pictures that are signed


def numbered_picture(number: int, size: tuple[int, int]) -> UInt8Array:
    """A picture whose mark says which frame it is; not flat, so that it costs what pictures do."""
    height, width = size
    rows = np.abs((np.arange(height) + number * 3) % 64 - 32)[:, None]
    columns = np.abs((np.arange(width) + number * 2) % 96 - 48)[None]
    image = np.repeat((GREY - 40 + (rows + columns) // 2)[..., None], 3, axis=2).astype(np.uint8)
    draw_mark(image, number)
    return image


def numbered_phantoms(size: tuple[int, int]) -> Callable[[int], UInt8Array]:
    """From a frame's number to a phantom's picture with that number in its mark. (H, W, 3)

    Grey, so that the tint of a mask can be told from it; drawing the scenes is done here.
    """
    scenes = PhantomScenes(PhantomUrl(size=size))
    grey = [_grey(scenes.image(number)) for number in range(DIFFERENT)]
    there_and_back = [*grey, *reversed(grey)]

    def render(number: int) -> UInt8Array:
        image = there_and_back[number % len(there_and_back)].copy()
        draw_mark(image, number)
        return image

    return render


def _grey(image: UInt8Array) -> UInt8Array:
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


class SigningModel:
    """Finds, in every frame, the number of that frame."""

    classes = (CLASS,)

    def segment(self, image_rgb: UInt8Array) -> Segmentation:
        """The mask spells the number in the frame's mark; without a mark it is empty."""
        number = read_mark(image_rgb)
        mask = np.zeros(image_rgb.shape[:2], np.uint8)
        if number is not None:
            cells = _bits(number)
            rows, columns = cells.shape
            spelt = np.kron(cells, np.ones((CELL, CELL), np.uint8))
            mask[: rows * CELL, : columns * CELL] = spelt
        share = float(mask.mean())
        return Segmentation(mask, (ClassResult(1, share > 0, 1.0, share, Update.FROZEN),), 0.0)

    def update(self) -> tuple[Update, ...]:
        """Nothing to learn."""
        return (Update.FROZEN,)

    def segment_clicks(
        self, image_rgb: UInt8Array, clicks: Sequence[Click]
    ) -> npt.NDArray[np.bool_]:
        """Nothing is clicked on."""
        return np.zeros(image_rgb.shape[:2], np.bool_)

    def teach(self, image_rgb: UInt8Array, class_map: UInt8Array) -> None:
        """Nothing to learn."""

    def take_back(self) -> bool:
        """Nothing was taught."""
        return False

    def freeze(self, frozen: bool = True) -> None:
        """Nothing to freeze."""

    def rollback(self) -> None:
        """Nothing to take back."""

    def reset(self) -> None:
        """Nothing to forget."""

    def save(self) -> None:
        """Nothing was learnt."""

    def load(self, state: None) -> None:
        """Nothing to go on with."""


def number_of_mask(mask: UInt8Array) -> int | None:
    """The number that a mask spells; None where it is no such mask. (H, W) uint8"""
    cells = mask[: ROWS * CELL, : COLUMNS * CELL].reshape(ROWS, CELL, COLUMNS, CELL)
    middles = cells[:, 4:-4, :, 4:-4].mean(axis=(1, 3))
    return number_of_cells((middles > 0.5).astype(np.uint8).ravel())


def number_of_cells(cells: Sequence[int] | UInt8Array) -> int | None:
    """The same from the mask's cells, row by row, 1 where there is mask."""
    bits = np.asarray(cells, np.uint8)
    number = int(np.packbits(bits[:BITS]).view(">u2")[0])
    return number if np.array_equal(bits, _bits(number).ravel()) else None


def mask_in_picture(shown: UInt8Array) -> UInt8Array:
    """Where a shown picture, grey by itself, carries the tint of the class. (H, W) of 0 and 1"""
    picture = shown.astype(np.int16)
    return (picture[..., 1] - (picture[..., 0] + picture[..., 2]) // 2 > 25).astype(np.uint8)


def _bits(number: int) -> UInt8Array:
    """Every bit of the number and its opposite: no mask is empty, none is mistaken for another."""
    packed = np.unpackbits(np.array([number >> 8, number & 255], np.uint8))
    return np.concatenate([packed, 1 - packed]).astype(np.uint8).reshape(-1, COLUMNS)

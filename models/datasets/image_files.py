"""Images and label images on disk, as every layout needs them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from models.errors import DatasetError
from models.types import UInt8Array

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order (frame_2 before frame_10)."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def read_image(path: Path) -> UInt8Array:
    """(H, W, 3) uint8 RGB; grey becomes three equal channels, 16 bit is scaled, alpha dropped.

    Raises DatasetError when the file is not a readable image.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None:
        raise DatasetError(f"{path.name}: expected a readable image, got something else")
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DatasetError(f"{path.name}: expected 8 or 16 bit pixels, got {pixels.dtype}")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) from the file's header; the pixels are not decoded.

    Raises DatasetError when the file is not a readable image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        message = f"{path.name}: expected a readable image, got something else"
        raise DatasetError(message) from error


def read_label_image(path: Path, where: str, image: Path) -> UInt8Array:
    """(H, W) uint8 values of a label image with one channel, or several equal ones.

    where: how messages call the file; image: the image it belongs to, whose size it must have.
    Raises DatasetError: unreadable, not 8 bit with one channel, another size than its image.
    """
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if mask is None:
        raise DatasetError(f"{where}: expected a readable PNG, got something else")
    if mask.ndim == 3 and all(np.array_equal(mask[..., 0], mask[..., n]) for n in (1, 2)):
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype != np.uint8:
        depth, channels = mask.dtype, 1 if mask.ndim == 2 else mask.shape[2]
        raise DatasetError(f"{where}: expected uint8 with one channel, got {depth} with {channels}")
    values = np.ascontiguousarray(mask, dtype=np.uint8)
    require_size(values.shape, where, image)
    return values


def require_size(shape: tuple[int, ...], where: str, image: Path) -> None:
    """Raises DatasetError when a mask's (H, W) is not that of the image it belongs to."""
    height, width = image_size(image)
    if tuple(shape[:2]) != (height, width):
        raise DatasetError(
            f"{where}: expected the image's size {width}x{height}, got {shape[1]}x{shape[0]}"
        )


def require_known(values: UInt8Array, known: Iterable[int], where: str, expected: str) -> None:
    """Raises DatasetError when an image of labels has a value that is none of those known."""
    unknown = sorted({int(value) for value in np.unique(values)} - set(known))
    if unknown:
        raise DatasetError(f"{where}: expected {expected}, got {unknown[0]}")


def require_folder(root: Path, name: str) -> Path:
    """The folder `name` of a data set. Raises DatasetError, also when there is no root."""
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    if not (root / name).is_dir():
        raise DatasetError(f"{root}: expected a folder {name}, found none")
    return root / name


def stems(folder: Path, suffixes: tuple[str, ...], root: Path) -> dict[str, Path]:
    """Stem -> file, in natural order, of the files with these suffixes.

    Raises DatasetError when there is none.
    """
    found = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in suffixes), key=natural
    )
    if not found:
        where = folder.relative_to(root)
        raise DatasetError(f"{where}: expected {' or '.join(suffixes)} files, found none")
    return {path.stem: path for path in found}


def list_folders(root: Path, pattern: str, example: str) -> list[Path]:
    """Folders whose whole name matches the pattern, in natural order.

    Raises DatasetError when there is no root, or none of them.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    found = [path for path in root.iterdir() if path.is_dir() and re.fullmatch(pattern, path.name)]
    if not found:
        raise DatasetError(f"{root}: expected folders such as {example}, found none")
    return sorted(found, key=natural)


def folders_below(root: Path, pattern: str, inside: str = "") -> list[Path]:
    """Folders named by a glob pattern at most two levels below root, in natural order.

    inside: a folder that each must hold. Raises DatasetError when there is no root.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    found = {path for above in ("", "*/", "*/*/") for path in root.glob(above + pattern)}
    return sorted((path for path in found if (path / inside).is_dir()), key=natural)


def masks_of(folder: Path, images: Iterable[Path], where: str) -> dict[str, Path]:
    """Stem -> .png file in a folder of masks, which need not be there; where: its name in messages.

    Raises DatasetError when a mask belongs to none of the images.
    """
    masks = {path.stem: path for path in folder.glob("*.png")} if folder.is_dir() else {}
    stray = sorted(masks.keys() - {image.stem for image in images})
    if stray:
        raise DatasetError(
            f"{where}/{stray[0]}.png: expected an image of the same stem, found none"
        )
    return masks

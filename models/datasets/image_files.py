"""Images and label images on disk, as every layout needs them.

Pillow reads them: upright as their EXIF says, label images by index where they have a palette, and
never a part of one that is cut short. What a name begins with a dot, macOS and editors have left.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import DatasetError
from models.types import IGNORE_ID, UInt8Array

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
UNREAD_SUFFIXES = (  # pictures that nothing here reads: named, never passed over in silence
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".gif", ".tga", ".ppm", ".pgm", ".pnm",
    ".exr", ".dng", ".cr2", ".nef", ".arw", ".psd", ".dcm", ".dicom",
)  # fmt: skip
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave in folders
SEVERAL = {"TIFF", "WEBP", "PNG", "GIF"}  # formats whose files may hold several pictures
ORIENTATION = 0x0112  # of EXIF: 2 to 8 are mirrored or turned, from 5 on by a quarter
DEPTH_16 = ("I;16", "I;16B", "I;16L", "I;16N")
# What Pillow raises on files that are damaged, cut short, or something else.
DAMAGED = (
    UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError,
    TypeError, OverflowError, MemoryError, AttributeError, AssertionError, NotImplementedError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
# Of pixels, as few as Pillow warns of: a header can promise gigabytes.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def visible(folder: Path) -> list[Path]:
    """What is in a folder, in natural order, without hidden files and what systems leave there."""
    found = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return sorted((p for p in found if p.name.lower() not in LITTER), key=natural)


def list_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order (frame_2 before frame_10)."""
    return [path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def passed_over(folder: Path) -> list[Path]:
    """Pictures of a folder in formats that are not read."""
    return [path for path in visible(folder) if path.suffix.lower() in UNREAD_SUFFIXES]


def images_of(folder: Path, where: str) -> list[Path]:
    """As list_images; where: the folder's name in messages.

    Raises DatasetError when there is a picture that would be passed over, or one stem twice.
    """
    unread = passed_over(folder)
    if unread:
        raise DatasetError(
            f"{where}/{unread[0].name}: expected images as {', '.join(IMAGE_SUFFIXES)}, "
            f"convert {'it' if len(unread) == 1 else f'the {len(unread)} that are none'}"
        )
    images = list_images(folder)
    if len({image.stem for image in images}) < len(images):
        raise DatasetError(f"{where}: two images share a stem, masks would be ambiguous")
    return images


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which numbers count as numbers; equal only for equal names."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    # A number is its digits, and the longer one is the larger: int() refuses thousands of them.
    key = [_digits(part) if at % 2 else (1, 0, part) for at, part in enumerate(parts)]
    return [*key, (2, 0, path.name)]


def _digits(number: str) -> tuple[int, int, str]:
    digits = number.lstrip("0")
    return 0, len(digits), digits


@contextmanager
def opened_image(path: Path, where: str, kind: str) -> Iterator[Image.Image]:
    """The file's one picture, decoded only when asked for. Raises DatasetError."""
    try:
        with Image.open(path) as image:
            if image.format in SEVERAL and getattr(image, "n_frames", 1) > 1:
                raise DatasetError(
                    f"{where}: expected one picture in a file, got {getattr(image, 'n_frames', 1)}"
                )
            yield image
    except DAMAGED as error:
        what = f" ({error})" if "truncated" in str(error) else ""
        raise DatasetError(f"{where}: expected {kind}, got something else{what}") from error


def _orientation(image: Image.Image, path: Path) -> int:
    """As EXIF states it, 1 where it does not; pixels are decoded only if EXIF comes after them."""
    if image.format == "PNG" and "exif" not in image.info and b"eXIf" not in path.read_bytes():
        return 1
    stated = image.getexif().get(ORIENTATION, 1)
    return stated if stated in range(1, 9) else 1


def _upright(image: Image.Image, path: Path) -> Image.Image:
    return image if _orientation(image, path) == 1 else ImageOps.exif_transpose(image)


def read_image(path: Path) -> UInt8Array:
    """(H, W, 3) uint8 RGB, upright; grey becomes three equal channels, 16 bit is scaled, alpha
    dropped.

    Raises DatasetError when the file is not a readable image, or only a part of one.
    """
    with opened_image(path, path.name, "a readable image") as image:
        image.load()
        upright = _upright(image, path)
        if upright.mode in DEPTH_16:
            grey = (np.asarray(upright, np.uint16) // 257).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if upright.mode in ("I", "F"):
            depth = "int32" if upright.mode == "I" else "float32"
            raise DatasetError(f"{path.name}: expected 8 or 16 bit pixels, got {depth}")
        return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"), np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) as it is shown, from the file's header; the pixels are not decoded.

    Raises DatasetError when the file is not a readable image.
    """
    with opened_image(path, path.name, "a readable image") as image:
        turned = _orientation(image, path) >= 5 and image.format != "TIFF"  # Pillow turns these
        return (image.width, image.height) if turned else (image.height, image.width)


def read_label_image(path: Path, where: str, image: Path) -> UInt8Array:
    """(H, W) uint8 values of a label image with a palette, one channel, or several equal ones.

    A palette's index is the value, whatever its colour. One bit is 0 or 255.
    where: how messages call the file; image: the image it belongs to, whose size it must have.
    Raises DatasetError: unreadable, not 8 bit with one channel, another size than its image.
    """
    with opened_image(path, where, "a readable PNG") as mask:
        values = label_values(mask, path, where)
    require_size(values.shape, where, image)
    return values


def label_values(mask: Image.Image, path: Path, where: str) -> UInt8Array:
    """(H, W) uint8, upright. Raises DatasetError unless it is a PNG of 8 bit and one channel."""
    if mask.format != "PNG":
        raise DatasetError(f"{where}: expected a readable PNG, got {mask.format}")
    stored = _stored_as(mask)
    mask.load()
    return _values(np.asarray(_upright(mask, path)), stored, where)


def _stored_as(image: Image.Image) -> str:
    """Pillow's name of how pixels lie in the file, "L;4" say."""
    tiles: Any = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) else (arguments or [""])[0])


def _values(pixels: Any, stored: str, where: str) -> UInt8Array:
    """Pillow's pixels as they lie in the file: it stretches few bits over the whole range."""
    if pixels.ndim == 3:  # grey and alpha, or colours
        colours = pixels[..., : 1 if pixels.shape[2] == 2 else 3]
        pixels = colours[..., 0] if (colours == colours[..., :1]).all() else colours
    deep = "16" in stored or pixels.dtype not in (np.uint8, np.bool_)
    if pixels.ndim != 2 or deep:
        depth, channels = "uint16" if deep else "uint8", 1 if pixels.ndim == 2 else pixels.shape[2]
        raise DatasetError(f"{where}: expected uint8 with one channel, got {depth} with {channels}")
    if pixels.dtype == np.bool_:
        return np.where(pixels, np.uint8(IGNORE_ID), np.uint8(0))
    step = {"L;2": 85, "L;4": 17}.get(stored, 1)
    return np.ascontiguousarray(pixels // step, dtype=np.uint8)


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
    where = folder.relative_to(root)
    found = [path for path in visible(folder) if path.suffix.lower() in suffixes]
    if not found:
        raise DatasetError(f"{where}: expected {' or '.join(suffixes)} files, found none")
    return _by_stem(found, str(where))


def _by_stem(files: Iterable[Path], where: str) -> dict[str, Path]:
    """Stem -> file. Raises DatasetError for a stem that two files have."""
    named: dict[str, Path] = {}
    for path in files:
        if path.stem in named:
            raise DatasetError(
                f"{where}: expected one file called {path.stem}, got {named[path.stem].name} "
                f"and {path.name}"
            )
        named[path.stem] = path
    return named


def list_folders(root: Path, pattern: str, example: str) -> list[Path]:
    """Folders whose whole name matches the pattern, in natural order.

    Raises DatasetError when there is no root, or none of them.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    folders = [path for path in visible(root) if path.is_dir()]
    found = [path for path in folders if re.fullmatch(pattern, path.name)]
    if not found:
        raise DatasetError(f"{root}: expected folders such as {example}, found none")
    return found


def folders_below(root: Path, pattern: str, inside: str = "") -> list[Path]:
    """Folders named by a glob pattern at most two levels below root, in natural order.

    inside: a folder that each must hold. Raises DatasetError when there is no root.
    """
    if not root.is_dir():
        raise DatasetError(f"expected a data set folder, found none at {root}")
    found = {path for above in ("", "*/", "*/*/") for path in root.glob(above + pattern)}
    shown = [p for p in found if not is_hidden(p, root) and (p / inside).is_dir()]
    return sorted(shown, key=natural)


def is_hidden(path: Path, root: Path) -> bool:
    """Is it, or a folder between root and it, no data: hidden, or what a system has left there?"""
    parts = path.relative_to(root).parts
    return any(part.startswith(".") or part.lower() in LITTER for part in parts)


def masks_of(folder: Path, images: Iterable[Path], where: str) -> dict[str, Path]:
    """Stem -> PNG file in a folder of masks, which need not be there; where: its name in messages.

    Raises DatasetError for anything else in it: another format, a mask of none of the images.
    """
    files = visible(folder) if folder.is_dir() else []
    wrong = next((path for path in files if path.suffix.lower() != ".png"), None)
    if wrong is not None:
        raise DatasetError(f"{where}/{wrong.name}: expected .png, masks of class ids without loss")
    masks = _by_stem(files, where)
    known = {image.stem for image in images}
    stray = next((path for stem, path in masks.items() if stem not in known), None)
    if stray is not None:
        raise DatasetError(f"{where}/{stray.name}: expected an image of the same stem, found none")
    return masks

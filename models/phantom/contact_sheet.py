"""Contact sheets of the phantom: procedures in rows, frames with and without their truth."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.phantom.looks import CLASSES
from models.phantom.scene import PhantomFrame, Procedure
from models.types import UInt8Array


def contact_sheet(
    seeds: Sequence[int], *, size: int = 192, clips: int = 3, times: Sequence[float] = (0.5, 2.5)
) -> UInt8Array:
    """One row per seed: for each clip a plain frame per time, the first also with contours."""
    rows = []
    for seed in seeds:
        procedure = Procedure(seed)
        tiles: list[UInt8Array] = []
        for index in range(clips):
            clip = procedure.clip(index, size=(size, size))
            frames = [clip.render(t) for t in times]
            tiles += [_outlined(frames[0]), *(frame.image_rgb for frame in frames)]
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _outlined(frame: PhantomFrame) -> UInt8Array:
    image = frame.image_rgb.copy()
    for spec in CLASSES:
        mask = (frame.class_mask == spec.class_id).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        color = tuple(int(spec.color[i : i + 2], 16) for i in (1, 3, 5))
        cv2.drawContours(image, found, -1, color, 1)
    return image


def _frames_per_second(size: int, frames: int = 200) -> tuple[float, float]:
    """Frames a second once a clip is open, and milliseconds to open one."""
    started = time.perf_counter()
    clips = [Procedure(seed).clip(0, size=(size, size)) for seed in range(8)]
    for clip in clips:
        clip.render(0.0)
    opened = (time.perf_counter() - started) / len(clips)
    started = time.perf_counter()
    for number in range(frames):
        clips[number % len(clips)].render(number / 25)
    return frames / (time.perf_counter() - started), opened * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a sheet of seven procedures and print the speed; 2 if the input makes no sense."""
    parser = argparse.ArgumentParser(description="Contact sheet of the phantom, and its speed.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("contact_sheet.png"))
    parser.add_argument("first", nargs="?", type=int, default=0, help="seed of the first row")
    given = parser.parse_args(arguments)
    if given.first < 0:
        parser.error(f"expected a first seed of 0 or more, got {given.first}")
    if not cv2.haveImageWriter(str(given.out)):
        parser.error(f"expected an image file such as sheet.png, got {given.out}")
    sheet = contact_sheet(range(given.first, given.first + 7))
    if not cv2.imwrite(str(given.out), sheet[..., ::-1]):
        parser.error(f"cannot write {given.out}")
    cv2.setNumThreads(1)
    rate, opening = _frames_per_second(256)
    print(f"256 px: {rate:.0f} frames/s on one core, {opening:.0f} ms to open procedure and clip")
    return 0


if __name__ == "__main__":
    sys.exit(main())

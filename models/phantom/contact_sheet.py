"""Contact sheets of the phantom: procedures in rows, frames with and without their truth."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.phantom.instruments import CLASSES
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


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "contact_sheet.png")
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    cv2.imwrite(str(out), contact_sheet(range(first, first + 7))[..., ::-1])
    cv2.setNumThreads(1)
    rate, opening = _frames_per_second(256)
    print(f"256 px: {rate:.0f} frames/s on one core, {opening:.0f} ms to open procedure and clip")

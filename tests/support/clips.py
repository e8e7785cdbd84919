"""Makes small recordings: good ones, odd ones, broken ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from models.types import UInt8Array


def picture(number: int, size: tuple[int, int]) -> UInt8Array:
    """Grey with a bright square that walks along the diagonal. (H, W, 3)"""
    height, width = size
    image = np.full((height, width, 3), 60, np.uint8)
    side = max(1, min(size) // 4)
    place = number * 2 % max(1, min(size) - side)
    image[place : place + side, place : place + side] = 230
    return image


def write_clip(
    path: Path,
    *,
    frames: int = 12,
    size: tuple[int, int] = (96, 128),
    times_ms: list[int] | None = None,
    grey: bool = False,
    faststart: bool = False,
    title: str | None = None,
) -> Path:
    """An H.264 mp4; times_ms: presentation times for a variable frame rate; title: in metadata."""
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        if title is not None:
            container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=25, options={"g": "4", "crf": "12"})
        stream.height, stream.width = size
        stream.pix_fmt = "gray" if grey else "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts = times_ms[number] if times_ms else number * 40
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

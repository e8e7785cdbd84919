"""Writes frames as an H.264 file that is valid at every moment, even if the process is killed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from streaming.errors import SinkError
from streaming.frame import UInt8Array

CLOCK = 90_000
FLAGS = "frag_keyframe+empty_moov+default_base_moof"
# At 1080p an encoder must leave the two cores of a laptop to the model: this takes 17 ms a frame
# where "veryfast" takes 45, for files a quarter larger (docs/engines.md).
QUICK = "mbtree=0:bframes=0:subme=0:weightp=0:scenecut=0"


class VideoWriter:
    """An mp4 of fragments. Frames keep their own times; odd sizes are padded by a pixel.

    Raises SinkError when the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        self._size = size
        height, width = (max(16, side + side % 2) for side in size)
        try:
            self._container = av.open(str(path), "w", options={"movflags": FLAGS})
        except (av.error.FFmpegError, OSError) as error:
            raise SinkError(f"cannot write {path.name} ({error})") from error
        rate = min(max(fps, Fraction(1)), Fraction(240)).limit_denominator(1001)
        options = {"crf": "21", "preset": "superfast", "x264-params": QUICK}
        options["g"] = str(max(1, round(float(rate) * 2)))
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._last = -1

    def write(self, image_rgb: UInt8Array, pts_ns: int) -> None:
        """Append a frame. image_rgb: (H, W, 3) uint8; pts_ns: from the first frame, rising"""
        if image_rgb.shape[:2] != self._size:
            image_rgb = np.asarray(cv2.resize(image_rgb, self._size[::-1]), dtype=np.uint8)
        bottom = self._stream.height - image_rgb.shape[0]
        right = self._stream.width - image_rgb.shape[1]
        if bottom or right:
            image_rgb = np.pad(image_rgb, ((0, bottom), (0, right), (0, 0)), mode="edge")
        planes = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2YUV_I420)  # a fifth of swscale's time
        picture = av.VideoFrame.from_ndarray(np.asarray(planes, dtype=np.uint8), format="yuv420p")
        self._last = max(self._last + 1, pts_ns * CLOCK // 1_000_000_000)
        picture.pts, picture.time_base = self._last, Fraction(1, CLOCK)
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def close(self) -> None:
        """Flush and finish the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()

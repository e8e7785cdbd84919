"""Writes frames as H.264 files that are valid at every moment, even if the process is killed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from streaming.errors import SinkError
from streaming.frame import UInt8Array
from streaming.pixel_aspect import SQUARE

CLOCK = 90_000
FRAGMENTS = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "flush_packets": "1",  # what is written is on the disk, not in a buffer
}
# Masks go into Matroska: an mp4 of fragments begins at its own first frame, wherever that was.
CLUSTERS = {"cluster_time_limit": "1000", "flush_packets": "1"}
# At 1080p an encoder must leave the two cores of a laptop to the model: this takes 15 ms a frame
# beside it where "superfast" takes 24 (docs/engines.md).
QUICK = {"preset": "ultrafast", "crf": "20"}


class _H264File:
    """A file with one H.264 stream, written as it grows."""

    def __init__(self, path: Path, rate: Fraction, options: dict[str, str]) -> None:
        pieces = CLUSTERS if path.suffix == ".mkv" else FRAGMENTS
        try:
            self._container = av.open(f"file:{path}", "w", options=pieces)
        except (av.error.FFmpegError, OSError) as error:
            raise SinkError(f"cannot write {path.name} ({error})") from error
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.codec_context.time_base = Fraction(1, CLOCK)
        self._broken = False

    def close(self) -> None:
        """Flush and finish the file; one that could not be written is left as it is."""
        if not self._broken:
            self._mux(None)
        self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except BaseException:
            self._broken = True  # FFmpeg crashes on packets for a file whose header failed
            raise


def _rate(fps: Fraction) -> Fraction:
    """As an encoder takes it."""
    return min(max(fps, Fraction(1)), Fraction(240)).limit_denominator(1001)


class VideoWriter(_H264File):
    """An mp4 of fragments. Frames keep their own times; odd sizes are padded by a pixel.

    Raises SinkError when the file cannot be written.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], fps: Fraction, pixel_aspect: Fraction = SQUARE
    ) -> None:
        """pixel_aspect: width of a pixel over its height, told to players"""
        self._size = size
        rate = _rate(fps)
        every = str(max(1, round(rate * 2)))  # frames of a fragment
        super().__init__(path, rate, QUICK | {"g": every})
        self._stream.height, self._stream.width = (max(16, side + side % 2) for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.sample_aspect_ratio = pixel_aspect
        # As OpenCV converts below; a player takes HD that says nothing for BT.709.
        self._stream.codec_context.colorspace = Colorspace.ITU601
        self._stream.codec_context.color_range = ColorRange.MPEG
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
        self._mux(picture)


class MaskWriter(_H264File):
    """Masks as a lossless grey video, .mkv: a pixel's value is its class id.

    Raises SinkError when the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: Fraction) -> None:
        self._size = size
        rate = _rate(fps)
        options = {"qp": "0", "preset": "ultrafast", "g": str(max(1, round(rate)))}
        super().__init__(path, rate, options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "gray"
        self._stream.codec_context.color_range = ColorRange.JPEG  # 0 to 255 as they are

    def write(self, class_map: UInt8Array, pts_ns: int) -> None:
        """Append a frame's masks, (H, W) uint8; pts_ns: as the frame's in its own video, rising"""
        if class_map.shape != self._size:
            small = cv2.resize(class_map, self._size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            class_map = np.asarray(small, dtype=np.uint8)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(class_map), format="gray")
        picture.pts, picture.time_base = pts_ns * CLOCK // 1_000_000_000, Fraction(1, CLOCK)
        self._mux(picture)

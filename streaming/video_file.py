"""A video file as an iterator of frames: every one, in order, as fast as it is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.video
import numpy as np

from streaming.errors import SourceError
from streaming.frame import Frame, UInt8Array

log = logging.getLogger(__name__)


class VideoFile:
    """Frames of a file, upright (rotation metadata is applied), RGB.

    After the iteration `problem` says in one line why the file ended early, if it did.
    Raises SourceError on construction: missing, not a video, no video stream, no frame.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SourceError(f"expected a video file, found no file {path}")
        try:
            # A colon in its name is no protocol, and its title need not be UTF-8.
            self._container = av.open(f"file:{path}", metadata_errors="replace")
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise SourceError(
                f"{path.name}: expected a video, cannot read it ({reason})"
            ) from error
        self._path = path
        self.problem: str | None = None
        self._first: Frame | None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{path.name}: expected a video stream, found none")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._frames = self._decode()
        try:
            self._first = next(self._frames)
        except StopIteration:
            self._container.close()
            detail = f" ({self.problem})" if self.problem else ""
            raise SourceError(f"{path.name}: expected frames, the video has none{detail}") from None
        height, width = self._first.image_rgb.shape[:2]
        self.size = (height, width)  # of the first frame, upright

    @property
    def fps(self) -> Fraction:
        """Average frame rate as the file states it, 25 if it does not."""
        return self._stream.average_rate or Fraction(25)

    @property
    def frame_count(self) -> int | None:
        """Frames the file claims to have, None if it does not say."""
        if self._stream.frames:
            return int(self._stream.frames)
        if self._container.duration:
            return round(self._container.duration / av.time_base * float(self.fps))
        return None

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the first on; one pass."""
        first, self._first = self._first, None
        if first is None:
            return
        yield first
        yield from self._frames
        self._note_missing()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._container.close()

    def _decode(self) -> Iterator[Frame]:
        index, start_ns, last_ns = 0, 0, -1
        self._decoded = 0
        try:
            for picture in self._container.decode(self._stream):
                pts_ns = _pts_ns(picture, index, self.fps)
                if index == 0:
                    start_ns = pts_ns
                pts_ns = max(pts_ns - start_ns, last_ns + 1)
                last_ns = pts_ns
                yield Frame(_upright(picture), index, pts_ns, time.monotonic_ns())
                index += 1
                self._decoded = index
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            self.problem = f"{self._path.name}: unreadable after frame {index} ({reason})"

    def _note_missing(self) -> None:
        """A truncated file often just ends: compare with what its header promised."""
        promised = self._stream.frames
        if self.problem is None and promised and self._decoded < promised:
            self.problem = (
                f"{self._path.name}: the file promises {promised} frames, "
                f"{self._decoded} could be read"
            )


def _pts_ns(picture: av.video.frame.VideoFrame, index: int, fps: Fraction) -> int:
    if picture.pts is None or not picture.time_base:
        return int(index * 1_000_000_000 / fps)
    return int(picture.pts * picture.time_base * 1_000_000_000)


def _upright(picture: av.video.frame.VideoFrame) -> UInt8Array:
    image = np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)
    turns = round(picture.rotation / 90) % 4
    if turns:
        image = np.ascontiguousarray(np.rot90(image, turns))
    return image

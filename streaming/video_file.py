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
from streaming.frame_rate import frame_rate
from streaming.pixel_aspect import pixel_aspect

log = logging.getLogger(__name__)
WITH_DURATION = {"mp4", "matroska"}  # FFmpeg's names of containers that say how long they are
TAIL = 3  # usual intervals, by which the last picture may end sooner than its file says


class VideoFile:
    """Frames of a file, upright (rotation metadata is applied), RGB.

    After the iteration `problem` says in one line why the file ended early, if it did.
    pixel_aspect: width over height of a pixel, which the frames keep
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
        self._on_its_side = False  # turned by a quarter to be upright
        self._first: Frame | None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{path.name}: expected a video stream, found none")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._rate = frame_rate(self._stream)
        self._frames = self._decode()
        try:
            self._first = next(self._frames)
        except StopIteration:
            self._container.close()
            detail = f" ({self.problem})" if self.problem else ""
            raise SourceError(f"{path.name}: expected frames, the video has none{detail}") from None
        height, width = self._first.image_rgb.shape[:2]
        self.size = (height, width)  # of the first frame, upright
        aspect = pixel_aspect(self._stream)
        self.pixel_aspect = 1 / aspect if self._on_its_side else aspect

    @property
    def fps(self) -> Fraction:
        """Average frame rate as the file states it, 25 if it does not."""
        return self._rate

    @property
    def frame_count(self) -> int | None:
        """Frames the file claims to have, None if it does not say."""
        if self._stream.frames:
            return int(self._stream.frames)
        if self._container.duration:
            return round(self._container.duration / av.time_base * float(self.fps))
        return None

    def name_of(self, index: int) -> str | None:
        """The file that a frame is: none."""
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
        self._decoded, self._read_s = 0, 0.0
        try:
            for picture in self._container.decode(self._stream):
                pts_ns = _pts_ns(picture, index, self.fps)
                if index == 0:
                    start_ns = pts_ns
                    self._on_its_side = round(picture.rotation / 90) % 2 == 1
                pts_ns = max(pts_ns - start_ns, last_ns + 1)
                last_ns = pts_ns
                yield Frame(_upright(picture), index, pts_ns, time.monotonic_ns())
                index += 1
                self._decoded, self._read_s = index, last_ns / 1e9 + self._shown_s(picture)
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            self.problem = f"{self._path.name}: unreadable after frame {index} ({reason})"

    def _note_missing(self) -> None:
        """A truncated file often just ends: compare with what its header promised."""
        frames, seconds = self._stream.frames, self._promised_s()
        if self.problem is not None:
            return
        if frames and self._decoded < frames:
            promised, read = f"{frames} frames", str(self._decoded)
        elif not frames and seconds is not None and self._read_s + TAIL / self._rate < seconds:
            promised, read = f"{seconds:.1f} s", f"{self._read_s:.1f} s"
        else:
            return
        self.problem = f"{self._path.name}: the file promises {promised}, {read} could be read"

    def _shown_s(self, picture: av.video.frame.VideoFrame) -> float:
        """How long a picture stays."""
        stated = picture.duration * picture.time_base if picture.time_base else 0
        return float(stated or 1 / self._rate)

    def _promised_s(self) -> float | None:
        """Of the video alone, in containers whose header is not a guess."""
        container, stream = self._container, self._stream
        if not WITH_DURATION & set(container.format.name.split(",")):
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration and len(container.streams) == 1:
            return float(container.duration / av.time_base)
        return None


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

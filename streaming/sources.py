"""Live sources: frames at the pace of the world, stamped when they come out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import SplitResult, unquote, urlsplit

from streaming.deinterlace import Mode
from streaming.errors import SourceError
from streaming.frame import Frame, UInt8Array
from streaming.network_stream import OPTIONS as STREAMS
from streaming.network_stream import NetworkStream
from streaming.pictures import TakenAs
from streaming.pixel_aspect import with_square_pixels
from streaming.video_file import VideoFile

STALLED_NS = 1_000_000_000  # a recording that was held up for longer goes on, it does not hurry


class Source(Protocol):
    """An iterator of frames that can be interrupted from another thread.

    size: as it is stated; finite: its end is an end; the end of any other source is a loss
    """

    fps: Fraction
    size: tuple[int, int]
    finite: bool

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends or is closed."""

    def close(self) -> None:
        """Interrupt the iteration, wherever it waits; may be called twice."""


@runtime_checkable
class Decoded(Protocol):
    """A source whose pictures a decoder made, and that says how they were understood."""

    def taken_as(self) -> TakenAs:
        """Of the pictures so far."""


class _Pace:
    """Waits for moments of a schedule; close() ends a wait at once."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._started_ns: int | None = None

    def is_closed(self) -> bool:
        """Has close() been called?"""
        return self._closed.is_set()

    def wait_until(self, offset_ns: int) -> int:
        """Sleep until offset_ns after the first call; returns how late it is, nanoseconds."""
        now = time.monotonic_ns()
        if self._started_ns is None:
            self._started_ns = now - offset_ns
        late = now - (self._started_ns + offset_ns)
        if late < 0:
            self._closed.wait(-late / 1e9)
        return max(0, late)

    def slip(self, late_ns: int) -> None:
        """Go on from here: what is late by so much is not made up for."""
        self._started_ns = (self._started_ns or 0) + late_ns

    def close(self) -> None:
        """End every wait, now and later."""
        self._closed.set()


class LiveFile:
    """A recording played as if it were live: at its own pace, from the start again at its end."""

    def __init__(self, path: Path, *, loop: bool = True, deinterlace: Mode = "auto") -> None:
        self._path, self._loop, self.finite = path, loop, not loop
        self._pace = _Pace()
        first = VideoFile(path, deinterlace)
        self.fps, self.size = first.fps, first.size
        self._deinterlace, self._look, self._taken_as = deinterlace, first.look, first.taken_as()
        first.close()

    def taken_as(self) -> TakenAs:
        """How its pictures are understood."""
        return self._taken_as

    def __iter__(self) -> Iterator[Frame]:
        """Frames, numbered through the loops."""
        index, offset_ns = 0, 0
        interval_ns = int(1_000_000_000 / self.fps)
        while not self._pace.is_closed():
            video, last_ns = VideoFile(self._path, self._deinterlace, self._look), 0
            try:
                for frame in video:
                    last_ns = offset_ns + frame.pts_ns
                    late_ns = self._pace.wait_until(last_ns)
                    if late_ns > STALLED_NS:
                        self._pace.slip(late_ns)
                    if self._pace.is_closed():
                        return
                    image = with_square_pixels(frame.image_rgb, video.pixel_aspect)
                    yield Frame(image, index, last_ns, time.monotonic_ns())
                    index += 1
            finally:
                video.close()
            if not self._loop:
                return
            offset_ns = last_ns + interval_ns

    def close(self) -> None:
        """Stop; may be called twice."""
        self._pace.close()


class RenderedSource:
    """Pictures made by a function of the frame number, at a steady rate.

    render: frame number -> (H, W, 3) uint8 RGB; a number whose time has passed is left out
    """

    finite = False

    def __init__(
        self, render: Callable[[int], UInt8Array], size: tuple[int, int], fps: Fraction
    ) -> None:
        self._render, self.size, self.fps = render, size, fps
        self._pace = _Pace()

    def __iter__(self) -> Iterator[Frame]:
        """Frames for ever."""
        index = 0
        interval_ns = int(1_000_000_000 / self.fps)
        while True:
            late_ns = self._pace.wait_until(index * interval_ns)
            index += late_ns // interval_ns
            if self._pace.is_closed():
                return
            image = self._render(index)
            yield Frame(image, index, index * interval_ns, time.monotonic_ns())
            index += 1

    def close(self) -> None:
        """Stop; may be called twice."""
        self._pace.close()


def split_url(url: str) -> SplitResult:
    """The parts of a source's URL. Raises SourceError, without a quote: it may hold a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # is parsed only when it is asked for
    except ValueError as error:
        raise SourceError("expected the address of a source, as in rtsp://host:554/x") from error
    return parts


def open_source(url: str, *, loop: bool = True, deinterlace: Mode = "auto") -> Source:
    """A live source by its URL.

    A path or file:// URL of a recording, rtsp:// or rtsps://, v4l2:///dev/video0.
    Raises SourceError: unknown scheme, no such file, not a video, cannot be reached.
    """
    parts = split_url(url)
    if parts.scheme in STREAMS:
        return NetworkStream(url, deinterlace)
    if parts.scheme == "file":
        return LiveFile(Path(unquote(parts.path)), loop=loop, deinterlace=deinterlace)
    if parts.scheme and "://" in url:
        known = "phantom://, rtsp://, rtsps://, v4l2://, file:// or a path"
        raise SourceError(f"expected {known}, got a {parts.scheme}:// URL")
    return LiveFile(Path(url), loop=loop, deinterlace=deinterlace)

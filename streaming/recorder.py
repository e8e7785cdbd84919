"""Records a live session, only when asked to: its pictures, and the masks that were shown on them.

video.mp4 is what came from the source. masks.mkv is lossless grey: a pixel's value is its id in
the class map, a mask has the time of its frame. Both are valid at every moment, also where the
process is killed; at most their last two seconds are missing then. A disk that is full ends the
recording, nothing else. After an hour without a picture a new recording is begun beside the old
one, in a folder of its own: an mp4 cannot hold a silence of many hours.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

import av

from streaming.errors import SinkError
from streaming.frame import Frame, UInt8Array
from streaming.video_writer import MaskWriter, VideoWriter

log = logging.getLogger(__name__)

LONGEST_SILENCE_S = 3600
WAITING = 16  # pictures and masks that wait for the disk; past it they are left out and counted
CLOSE_S = 5.0
MILLISECOND = 1_000_000
FAILURES = (av.error.FFmpegError, OSError, SinkError)


class RecorderState(StrEnum):
    """What the recording is doing."""

    RECORDING = "recording"
    FAILED = "failed"  # the disk is full, or the file cannot be written
    CLOSED = "closed"


@dataclass(frozen=True)
class _Item:
    """A picture (H, W, 3) or a mask (H, W), and when its frame was captured."""

    array: UInt8Array = field(repr=False)
    captured_ns: int


class _Files:
    """One recording: a file of pictures, and one of their masks."""

    def __init__(self, folder: Path, fps: Fraction) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._fps = folder, fps
        self._video: VideoWriter | None = None
        self._masks: MaskWriter | None = None
        self._start_ns = 0
        self._times: dict[int, int] = {}  # nanoseconds in the files, by when it was captured

    def silence_s(self, item: _Item) -> float:
        """Since the last picture; zero before the first."""
        return (item.captured_ns - max(self._times, default=item.captured_ns)) / 1e9

    def picture(self, item: _Item) -> None:
        """Write the next picture."""
        if self._video is None:
            self._start_ns = item.captured_ns
            self._video = VideoWriter(self._folder / "video.mp4", _size(item), self._fps)
        # Whole milliseconds, Matroska's clock: or both files round the same time differently.
        since = (item.captured_ns - self._start_ns) // MILLISECOND * MILLISECOND
        time_ns = max(since, max(self._times.values(), default=-MILLISECOND) + MILLISECOND)
        self._times[item.captured_ns] = time_ns
        while len(self._times) > 2 * WAITING:
            del self._times[next(iter(self._times))]
        self._video.write(item.array, time_ns)

    def mask(self, item: _Item) -> None:
        """Write a mask, unless its frame is not in the video."""
        if item.captured_ns not in self._times:
            return
        if self._masks is None:
            self._masks = MaskWriter(self._folder / "masks.mkv", _size(item), self._fps)
        self._masks.write(item.array, self._times[item.captured_ns])

    def close(self) -> None:
        """Finish both."""
        with contextlib.ExitStack() as closing:
            for writer in (self._video, self._masks):
                if writer is not None:
                    closing.callback(writer.close)


def _size(item: _Item) -> tuple[int, int]:
    return item.array.shape[0], item.array.shape[1]


def _new_folder(root: Path) -> Path:
    """Named after the time, in UTC."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return root / f"{now}-{secrets.token_hex(2)}"


class Recorder:
    """Writes in a thread of its own; whoever calls `frame` or `mask` never waits."""

    def __init__(self, folder: Path, fps: Fraction) -> None:
        self._folder, self._fps = folder, fps
        self._files: _Files | None = None
        self._items: queue.Queue[_Item | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._closing = False
        self.state = RecorderState.RECORDING
        self.frames = 0
        self.dropped = 0
        self._thread.start()

    @classmethod
    def in_new_folder(cls, root: Path, fps: Fraction) -> Recorder:
        """Record into a folder of root that is named after the time, in UTC, and is new."""
        return cls(_new_folder(root), fps)

    def frame(self, frame: Frame) -> None:
        """Record a picture."""
        self._offer(_Item(frame.image_rgb, frame.captured_ns))

    def mask(self, frame: Frame, class_map: UInt8Array) -> None:
        """Record the masks of a frame. class_map: (H, W) uint8 class ids"""
        self._offer(_Item(class_map, frame.captured_ns))

    def close(self) -> None:
        """Write what waits and finish the files; may be called twice."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._items.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)
        if self.state is RecorderState.RECORDING:
            self.state = RecorderState.CLOSED

    def _offer(self, item: _Item) -> None:
        if self._closing or self.state is not RecorderState.RECORDING:
            return
        try:
            self._items.put_nowait(item)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        try:
            self._files = _Files(self._folder, self._fps)
            while (item := self._items.get()) is not None:
                self._write(item, self._files)
            self._files.close()
        except Exception as error:  # a recording that fails says so, whatever it was
            self.state = RecorderState.FAILED
            reason = getattr(error, "strerror", None) or "not writable"
            log.error("the recording ended: %s", reason, exc_info=not isinstance(error, FAILURES))
            with contextlib.suppress(Exception):
                if self._files is not None:
                    self._files.close()

    def _write(self, item: _Item, files: _Files) -> None:
        if item.array.ndim == 2:
            files.mask(item)
            return
        if files.silence_s(item) > LONGEST_SILENCE_S:
            files.close()
            self._files = files = _Files(_new_folder(self._folder.parent), self._fps)
        files.picture(item)
        self.frames += 1

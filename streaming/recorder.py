"""Records a live session, only when asked to: its pictures, and the masks that were shown on them.

video.mp4 is what came from the source. masks.mkv is lossless grey: a pixel's value is its id in
the class map, a mask has the time of its frame. Both are valid at every moment, also where the
process is killed; at most their last second is missing then. A disk that is full ends the
recording, nothing else.
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


class Recorder:
    """Writes in a thread of its own; whoever calls `frame` or `mask` never waits."""

    def __init__(self, folder: Path, fps: Fraction) -> None:
        self._folder, self._fps = folder, fps
        self._video: VideoWriter | None = None
        self._masks: MaskWriter | None = None
        self._start_ns: int | None = None
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
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return cls(root / f"{now}-{secrets.token_hex(2)}", fps)

    def numbers(self) -> dict[str, str | int]:
        """For the status."""
        return {"state": self.state.value, "frames": self.frames, "dropped": self.dropped}

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
            self._folder.mkdir(parents=True, exist_ok=True)
            while (item := self._items.get()) is not None:
                self._write(item)
            self._finish()
        except FAILURES as error:
            self.state = RecorderState.FAILED
            log.error("the recording ended: %s", getattr(error, "strerror", None) or "not writable")
            with contextlib.suppress(*FAILURES):
                self._finish()

    def _write(self, item: _Item) -> None:
        size = item.array.shape[0], item.array.shape[1]
        if self._start_ns is None:
            if item.array.ndim == 2:
                return  # of a frame from before the recording's start
            self._start_ns = item.captured_ns
        # Whole milliseconds, Matroska's clock: or both files round the same time differently.
        pts_ns = (item.captured_ns - self._start_ns) // MILLISECOND * MILLISECOND
        if item.array.ndim == 3:
            if self._video is None:
                self._video = VideoWriter(self._folder / "video.mp4", size, self._fps)
            self._video.write(item.array, pts_ns)
            self.frames += 1
        elif pts_ns >= 0:
            if self._masks is None:
                self._masks = MaskWriter(self._folder / "masks.mkv", size, self._fps)
            self._masks.write(item.array, pts_ns)

    def _finish(self) -> None:
        for writer in (self._video, self._masks):
            if writer is not None:
                writer.close()

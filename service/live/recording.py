"""Whether a session is being recorded: only where a folder was given, and only when asked to."""

from __future__ import annotations

import asyncio
import logging
from fractions import Fraction
from pathlib import Path

from models.types import UInt8Array
from service.errors import RecordingForbiddenError, RecordingStateError
from service.live.status import RecordingStatus
from streaming.frame import Frame
from streaming.recorder import Recorder, RecorderState

log = logging.getLogger(__name__)


class Recording:
    """Started and stopped any number of times; each time into a new folder of root.

    root: None where the service was started without a folder for recordings
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._recorder: Recorder | None = None  # the last one stays, for its numbers

    @property
    def running(self) -> bool:
        """Are pictures being written?"""
        return self._recorder is not None and self._recorder.state is RecorderState.RECORDING

    def start(self, fps: Fraction) -> None:
        """Record from the next frame on.

        Raises RecordingForbiddenError: no folder; RecordingStateError: it is recorded already.
        """
        if self._root is None:
            raise RecordingForbiddenError(
                "expected a service that was started with --record DIR, this one records nothing"
            )
        if self.running:
            raise RecordingStateError("expected a session that is not being recorded, this one is")
        self._recorder = Recorder.in_new_folder(self._root, fps)
        log.info("recording started")

    async def stop(self) -> None:
        """Finish the files. Raises RecordingStateError: it is not being recorded."""
        if not self.running:
            raise RecordingStateError("expected a session that is being recorded, this one is not")
        await self.close()
        log.info("recording stopped")

    async def close(self) -> None:
        """Finish the files, if there are any; may be called twice."""
        if self._recorder is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._recorder.close)

    def frame(self, frame: Frame) -> None:
        """A picture of the source."""
        if self._recorder is not None:
            self._recorder.frame(frame)

    def mask(self, frame: Frame, class_map: UInt8Array) -> None:
        """Masks that were shown on it. class_map: (H, W) uint8 class ids"""
        if self._recorder is not None:
            self._recorder.mask(frame, class_map)

    def status(self) -> RecordingStatus:
        """Whether it records, and how much it has."""
        allowed, recorder = self._root is not None, self._recorder
        if recorder is None:
            return RecordingStatus(allowed)
        return RecordingStatus(allowed, recorder.state.value, recorder.frames, recorder.dropped)

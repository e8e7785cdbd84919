"""A thread that moves a source's frames into a slot, and starts the source again if it is lost."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from streaming.errors import StreamingError
from streaming.frame import Frame
from streaming.pictures import TakenAs
from streaming.slot import LatestSlot
from streaming.sources import Decoded, Source

log = logging.getLogger(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.25, 1.0  # an operating room waits for its picture


class PumpState(StrEnum):
    """What the source is doing."""

    RUNNING = "running"
    LOST = "lost"  # failed, or ended unexpectedly; being opened again
    ENDED = "ended"  # a recording that was to be played once
    CLOSED = "closed"


class Pump:
    """Iterates a source in a thread. Losing it is a state, not an end: back-off, then again."""

    def __init__(self, open_source: Callable[[], Source], slot: LatestSlot[Frame]) -> None:
        self._open, self._slot = open_source, slot
        self._closed = threading.Event()
        self._source: Source | None = None
        context = contextvars.copy_context()  # the thread logs as whoever made it would
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="pump", daemon=True
        )
        self.state = PumpState.RUNNING
        self.frames = 0
        self.losses = 0
        self.arrivals: deque[float] = deque(maxlen=250)  # monotonic seconds of the last frames

    def start(self, source: Source) -> None:
        """Begin with a source that is already open."""
        self._source = source
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Interrupt a blocked read and wait for the thread; may be called twice."""
        self._closed.set()
        source = self._source  # the thread may let go of it meanwhile
        if source is not None:
            source.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self.state = PumpState.CLOSED

    def taken_as(self) -> TakenAs:
        """How the source's pictures are understood; nothing while there is none."""
        source = self._source
        return source.taken_as() if isinstance(source, Decoded) else TakenAs()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._closed.is_set():
            before = self.frames
            ended = self._pour()
            if self._closed.is_set():
                return
            if ended:
                self.state = PumpState.ENDED
                return
            self.state, self.losses = PumpState.LOST, self.losses + 1
            retry_s = FIRST_RETRY_S if self.frames > before else retry_s
            self._closed.wait(retry_s)
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    def _pour(self) -> bool:
        """Until the source gives no more; returns whether that was its proper end."""
        try:
            if self._source is None:
                self._source = self._open()
            if self._closed.is_set():  # before there was a source to close
                return True
            for frame in self._source:
                if self._closed.is_set():
                    return True
                self.state = PumpState.RUNNING
                self.frames += 1
                self.arrivals.append(time.monotonic())
                self._slot.put(frame)
            return self._source.finite
        except Exception as error:  # whatever a driver or decoder raises, it is tried again
            unforeseen = not isinstance(error, (StreamingError, OSError))
            log.warning("source lost: %s", type(error).__name__, exc_info=unforeseen)
            return False
        finally:
            source, self._source = self._source, None
            if source is not None:
                source.close()

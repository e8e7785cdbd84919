"""What a live session measures about itself, each figure over a window of fixed length."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import numpy as np
from prometheus_client import Histogram

from models.types import Segmentation
from streaming.frame import Frame
from streaming.rendition import Picture

WINDOW = 250  # samples of a running statistic
BUCKETS_S = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 0.8, 2.0)
RATE_S = 2.0  # seconds over which rates are counted


class SentPictures:
    """Pictures that went to the viewers of one rendition. seconds: counts capture to send"""

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self.count = 0
        self.times: deque[float] = deque(maxlen=WINDOW)  # monotonic seconds
        self.latency_ms: deque[float] = deque(maxlen=WINDOW)

    def note(self, picture: Picture) -> None:
        """One more went."""
        self.count += 1
        self.times.append(time.monotonic())
        latency_s = (time.monotonic_ns() - picture.captured_ns) / 1e9
        self.latency_ms.append(latency_s * 1e3)
        self._seconds.observe(latency_s)

    def capture_to_send_ms(self, since_ns: int) -> list[float]:
        """Of each picture of the window that was captured since then (monotonic)."""
        pairs = zip(self.times, self.latency_ms, strict=True)
        return [took for sent, took in pairs if sent * 1e9 - took * 1e6 >= since_ns]


class LiveNumbers:
    """Written by the session alone, on its event loop.

    overlay: pictures with masks, or a badge in their place; plain: untouched ones
    """

    def __init__(self) -> None:
        self.stage_seconds = Histogram(
            "trocar_stage_seconds", "model: from a frame to its masks; others: from its capture",
            ["stage"], buckets=BUCKETS_S, registry=None,
        )  # fmt: skip
        self._step_s = self.stage_seconds.labels("model")
        self.overlay = SentPictures(self.stage_seconds.labels("capture_to_send"))
        self.plain = SentPictures(self.stage_seconds.labels("capture_to_send_plain"))
        self.step_ms: deque[float] = deque(maxlen=WINDOW)
        self.late = 0
        self.masked = 0
        self.shown_plain = 0
        self.broken = 0

    def note_step(self, result: Segmentation) -> None:
        """The model answered."""
        self.step_ms.append(result.step_ms)
        self._step_s.observe(result.step_ms / 1e3)

    def usual_step_s(self) -> float:
        """Median step of the window, seconds; zero before the first."""
        return float(np.median(self.step_ms)) / 1e3 if self.step_ms else 0.0


class FrameInterval:
    """The frame interval of a source that may not state it truly, followed as it changes."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._last: tuple[int, int] | None = None

    def note(self, frame: Frame) -> None:
        """A frame came; those between it and the last one that was noted count too."""
        last, self._last = self._last, (frame.index, frame.captured_ns)
        if last is None or frame.index <= last[0]:
            return
        since_s = (frame.captured_ns - last[1]) / 1e9 / (frame.index - last[0])
        if since_s < 1.0:  # longer is silence
            self.interval_s += (since_s - self.interval_s) / 25


def rate(times: Iterable[float]) -> float:
    """Events a second over the last two seconds. times: monotonic seconds"""
    now = time.monotonic()
    return sum(now - moment <= RATE_S for moment in times) / RATE_S


def silent_s(times: deque[float]) -> float:
    """Seconds since the last event; zero before the first."""
    try:
        return time.monotonic() - times[-1]
    except IndexError:
        return 0.0

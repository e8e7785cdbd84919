"""What a live session measures about itself, each figure over a window of fixed length."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import numpy as np

from models.types import Segmentation
from streaming.frame import Frame

WINDOW = 250  # samples of a running statistic
RATE_S = 2.0  # seconds over which rates are counted


class LiveNumbers:
    """Written by the session alone, on its event loop."""

    def __init__(self) -> None:
        self.sent: deque[float] = deque(maxlen=WINDOW)
        self.step_ms: deque[float] = deque(maxlen=WINDOW)
        self.latency_ms: deque[float] = deque(maxlen=WINDOW)
        self.late = 0
        self.plain = 0
        self.failures = 0
        self.broken = 0

    def note_step(self, result: Segmentation) -> None:
        """The model answered."""
        self.step_ms.append(result.step_ms)

    def note_sent(self, frame: Frame) -> None:
        """A picture went to the viewers."""
        self.sent.append(time.monotonic())
        self.latency_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)

    def usual_step_s(self) -> float:
        """Median step of the window, seconds; zero before the first."""
        return float(np.median(self.step_ms)) / 1e3 if self.step_ms else 0.0


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


def quantiles(samples: deque[float]) -> dict[str, float]:
    """Median and 95th percentile, for the status."""
    if not samples:
        return {"p50": 0.0, "p95": 0.0}
    p50, p95 = np.percentile(samples, [50, 95])
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}

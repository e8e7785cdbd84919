"""What the learner of one session did over the last two minutes, for the control page's plot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

SAMPLES = 120
SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True)
class LearnerSample:
    """One moment. t_s: seconds since the session ran; counts are totals since then.

    confidence: by class id, 0 to 1, zero where the class was not found
    """

    t_s: float
    confidence: dict[int, float]
    accepted: int
    refused: int
    rolled_back: int


class LearnerHistory:
    """The last SAMPLES samples."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._samples: deque[LearnerSample] = deque(maxlen=SAMPLES)

    def add(self, updates: Mapping[str, int], confidence: dict[int, float]) -> None:
        """A sample. updates: totals by outcome; confidence: by class id"""
        t_s = round(time.monotonic() - self._began, 2)
        totals = (updates.get(outcome, 0) for outcome in ("accepted", "refused", "rolled_back"))
        self._samples.append(LearnerSample(t_s, confidence, *totals))

    def samples(self) -> tuple[LearnerSample, ...]:
        """Oldest first."""
        return tuple(self._samples)

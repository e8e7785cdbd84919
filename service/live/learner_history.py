"""What the learner of one session did over the last two minutes, for the control page's plot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

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

    def add(self, status: Mapping[str, Any]) -> None:
        """A sample of a session's status."""
        updates = status["updates"]
        self._samples.append(
            LearnerSample(
                round(time.monotonic() - self._began, 2),
                {one["id"]: one["confidence"] for one in status["classes"]},
                *(updates.get(result, 0) for result in ("accepted", "refused", "rolled_back")),
            )
        )

    def samples(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return [asdict(sample) for sample in self._samples]

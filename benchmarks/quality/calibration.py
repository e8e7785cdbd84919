"""Does the confidence mean what it says? Confidence against true DSC of what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Reliability:
    """error: expected calibration error over ten equal bins, 0 to 1; count: masks drawn

    passed_share: of the masks that reach gamma; passed_dsc: their mean DSC, NaN if there are none
    """

    error: float
    count: int
    passed_share: float
    passed_dsc: float

    @classmethod
    def of(cls, confidence: Sequence[float], reached: Sequence[float], gamma: float) -> Reliability:
        """confidence and true DSC (0 for an absent class) of every mask that was drawn."""
        sure, dsc = np.asarray(confidence, np.float64), np.asarray(reached, np.float64)
        if not len(sure):
            return cls(float("nan"), 0, 0.0, float("nan"))
        place = np.minimum((sure * BINS).astype(int), BINS - 1)
        error = 0.0
        for number in range(BINS):
            inside = place == number
            if inside.any():
                error += float(inside.mean() * abs(sure[inside].mean() - dsc[inside].mean()))
        passed = sure >= gamma
        mean = float(dsc[passed].mean()) if passed.any() else float("nan")
        return cls(error, len(sure), float(passed.mean()), mean)

"""The live path's model, opened so that its first frame takes no longer than the next."""

from __future__ import annotations

import numpy as np

from models.method.weight_source import WeightSource
from models.tracking.tracker import Tracker

SHAPE = (256, 256, 3)


def open_warm_tracker(
    profile: str,
    *,
    online: bool = True,
    gamma: float | None = None,
    engine: str = "auto",
    weights: WeightSource | None = None,
    learn_all: bool = False,
) -> Tracker:
    """A tracker that has stepped and forgotten it: weights verified, engine warm.

    Raises ProfileError, CheckpointError, EngineError.
    """
    tracker = Tracker.open(
        profile,
        online=online,
        gamma=gamma,
        engine=engine,
        weights=weights,
        learn_all=learn_all,
    )
    for _ in range(2):
        tracker.segment(np.zeros(SHAPE, np.uint8))
    tracker.reset()
    return tracker

"""The live path's model, opened so that its first frame takes no longer than the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.model.worker import LiveSegmenter

SHAPE = (256, 256, 3)


@dataclass(frozen=True)
class WarmTracker:
    """Opens a tracker when it is called, in the model's process: only there torch is loaded.

    profile: an embedded one's name, or a file; the rest: see Tracker.open
    """

    profile: str
    online: bool = True
    gamma: float | None = None
    engine: str = "auto"
    learn_all: bool = False

    def __call__(self) -> LiveSegmenter:
        """One that has stepped and forgotten it: weights verified, engine warm.

        Raises ProfileError, CheckpointError, EngineError.
        """
        from models.tracking.tracker import Tracker
        from service.model.weights import weight_source

        tracker = Tracker.open(
            self.profile,
            online=self.online,
            gamma=self.gamma,
            engine=self.engine,
            weights=weight_source(),
            learn_all=self.learn_all,
        )
        for _ in range(2):
            tracker.segment(np.zeros(SHAPE, np.uint8))
        tracker.reset()
        return tracker

"""What of the method is on: the ablations of the paper as flags, and how often a class learns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UPDATE_EVERY = 25  # frames of a video between updates: in 40 ms little changes


class Fusion(StrEnum):
    """How E1 and E2 become one feature."""

    ADAPTIVE = "adaptive"  # weighed by the fitted gate
    AVERAGE = "average"
    SUM = "sum"


@dataclass(frozen=True)
class Ablation:
    """What of the method is on; the ablations of the paper turn parts off.

    memory: use E1; learner: use E2; fusion: how both become one where both are used
    naming: let the mapping network's indicator help to name, if the profile has one
    instances: name instruments and their tracks instead of pixels, if the profile has exemplars
    online: update on confident frames; gamma: None keeps the profile's
    learn_per_frame: classes that learn from one frame at most; None: all, as in the paper
    learn_every: frames between those that are learnt from; 1: all, as in the paper
    """

    memory: bool = True
    learner: bool = True
    fusion: Fusion = Fusion.ADAPTIVE
    naming: bool = True
    instances: bool = True
    online: bool = True
    gamma: float | None = None
    learn_per_frame: int | None = None
    learn_every: int = 1

    @classmethod
    def for_video(
        cls, *, online: bool = True, gamma: float | None = None, learn_all: bool = False
    ) -> Ablation:
        """One class learns at a time, from every UPDATE_EVERY-th frame.

        learn_all: as published instead, every confident class from every frame
        """
        if learn_all:
            return cls(online=online, gamma=gamma)
        return cls(online=online, gamma=gamma, learn_per_frame=1, learn_every=UPDATE_EVERY)

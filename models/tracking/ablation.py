"""What of the method is on: the ablations of the paper as flags, and how often a class learns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LEARN_PER_FRAME = 1  # of a video: in 40 ms little changes, and an update costs what a class's does


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
    instances: name instruments and their tracks instead of pixels, if the profile has references
    online: update on confident frames; gamma: None keeps the profile's
    learn_per_frame: classes that learn from one frame at most; None: all, as in the paper
    instalments: spread a lesson over several frames' steps, one lesson at a time; False: at once
    """

    memory: bool = True
    learner: bool = True
    fusion: Fusion = Fusion.ADAPTIVE
    naming: bool = True
    instances: bool = True
    online: bool = True
    gamma: float | None = None
    learn_per_frame: int | None = None
    instalments: bool = False

    @classmethod
    def for_video(
        cls, *, online: bool = True, gamma: float | None = None, learn_all: bool = False
    ) -> Ablation:
        """Steps that take the same time: a class at a time, in instalments.

        learn_all: as published instead, every confident class from every frame, at once
        """
        if learn_all:
            return cls(online=online, gamma=gamma)
        return cls(online=online, gamma=gamma, learn_per_frame=LEARN_PER_FRAME, instalments=True)

"""Is there enough time of the model for one more session?

The load rule. The demand of a session is its usual step times the frame rate of its source:
seconds of model a second. A step uses every core that the model may use, so demands add up. A
session is admitted where all demands together, its own included, stay within the capacity; its own
step, not measured yet, is taken to be as long as the longest usual step of those that run. Steps
are measured as they are, beside everything else that the machine does: sessions that already hinder
each other count for more, never for less. The first session is always admitted; where it is slower
than its source it says so (`MODEL RATE`), and leaves no room for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """What a session asks of the model.

    step_s: its usual step, zero while none was measured; fps: frames a second that may come
    """

    step_s: float
    fps: float


def why_refused(running: Sequence[Pace], fps: float, capacity: float) -> str | None:
    """One sentence against another session of `fps` frames a second; None to admit it.

    capacity: seconds of model a second that this machine has for all sessions
    """
    longest_s = max((pace.step_s for pace in running), default=0.0)
    taken = sum((pace.step_s or longest_s) * pace.fps for pace in running)
    needed = longest_s * fps
    if not running or taken + needed <= capacity:
        return None
    return (
        f"this session would need {needed:.2f} seconds of model a second at {fps:g} frames a "
        f"second, expected at most {max(0.0, capacity - taken):.2f} of {capacity:g}"
    )

"""Earlier states of a learner: a wrong turn is seen late, so the way back skips the latest ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

SNAPSHOT_EVERY = 50  # accepted lessons between the states that `back` returns to
KEPT = 2  # of these states; the profile is the one before the first

State = TypeVar("State")


@dataclass(frozen=True)
class Kept(Generic[State]):
    """saved: at most KEPT states, the oldest first; since: lessons accepted after the last"""

    saved: tuple[State, ...] = ()
    since: int = 0


class Snapshots(Generic[State]):
    """What a stream's learner was 50 to 100 accepted lessons ago, and 0 to 50."""

    def __init__(self) -> None:
        self.past: Kept[State] = Kept()

    def accepted(self, state: Callable[[], State]) -> None:
        """A lesson was; state: makes a copy of what is known now"""
        since = self.past.since + 1
        if since < SNAPSHOT_EVERY:
            self.past = Kept(self.past.saved, since)
        else:
            self.past = Kept((*self.past.saved, state())[-KEPT:])

    def back(self) -> State | None:
        """The state to return to, None for the profile's; the others are forgotten."""
        saved, self.past = self.past.saved, Kept()
        return saved[0] if len(saved) == KEPT else None

    def forget(self) -> None:
        """There is no past."""
        self.past = Kept()

"""Earlier states of a learner, so that what was learnt can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

SNAPSHOT_EVERY = 50  # accepted updates between the states that `back` returns to
KEPT = 2  # of these states; the profile is the one before the first
LESSONS = 3  # that can be taken back

State = TypeVar("State")


@dataclass(frozen=True)
class Kept(Generic[State]):
    """saved: at most KEPT states, the oldest first; since: updates accepted after the last"""

    saved: tuple[State, ...] = ()
    since: int = 0


class Snapshots(Generic[State]):
    """What a stream's learner was 50 to 100 accepted updates ago, and 0 to 50.

    A wrong turn is seen late, so the way back skips the latest ones.
    """

    def __init__(self) -> None:
        self.past: Kept[State] = Kept()

    def accepted(self, state: Callable[[], State]) -> None:
        """An update was; state: makes a copy of what is known now"""
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


class Lessons(Generic[State]):
    """What the learner was before each of the last lessons."""

    def __init__(self) -> None:
        self.before: tuple[State, ...] = ()

    def begin(self, state: State) -> None:
        """A lesson begins; state: a copy of what is known before it"""
        self.before = (*self.before, state)[-LESSONS:]

    def take_back(self) -> State | None:
        """The state before the last lesson; None: there is none, or too many have come since."""
        if not self.before:
            return None
        *rest, last = self.before
        self.before = tuple(rest)
        return last

    def forget(self) -> None:
        """No lesson can be taken back."""
        self.before = ()

"""Whose turn is it to learn? So many classes every so many frames, who waited longest first."""

from __future__ import annotations


class RoundRobin:
    """When each of C classes last had its turn.

    A turn is had by being chosen, whatever the guard then says: what is shared out is the time.
    """

    def __init__(self, classes: int, limit: int | None, every: int = 1) -> None:
        """limit: classes at a time, from 1; None: all, as in the paper; every: frames, from 1"""
        if limit is not None and limit < 1:
            raise ValueError(f"expected at least one class that learns in a frame, got {limit}")
        self._limit, self._every = limit, every
        self._had = [0] * classes  # the call in which it was chosen last
        self._calls = 0
        self._free_from = 0

    def choose(self, wanting: list[int]) -> list[int]:
        """Which of these classes learn now, rising."""
        self._calls += 1
        if self._calls < self._free_from:
            return []
        longest = sorted(wanting, key=lambda row: (self._had[row], row))
        chosen = sorted(longest[: self._limit])
        for row in chosen:
            self._had[row] = self._calls
        if chosen:
            self._free_from = self._calls + self._every
        return chosen

    def reset(self) -> None:
        """As at the beginning."""
        self._had = [0] * len(self._had)
        self._calls, self._free_from = 0, 0

"""Whose turn is it to learn? At most so many classes a frame, the one that waited longest first."""

from __future__ import annotations


class RoundRobin:
    """When each of C rows last had its turn. Every row gets one at least every C / `limit` frames.

    A turn is had by being chosen, whatever the guard then says: what is shared out is the time.
    """

    def __init__(self, rows: int, limit: int | None) -> None:
        """limit: rows in a frame at most, from 1; None: all, as in the paper"""
        if limit is not None and limit < 1:
            raise ValueError(f"expected at least one class that learns in a frame, got {limit}")
        self._limit = limit
        self._had = [0] * rows  # the call in which it was chosen last
        self._calls = 0

    def choose(self, wanting: list[int]) -> list[int]:
        """Which of these rows learn now, rising."""
        self._calls += 1
        longest = sorted(wanting, key=lambda row: (self._had[row], row))
        chosen = sorted(longest[: self._limit])
        for row in chosen:
            self._had[row] = self._calls
        return chosen

    def reset(self) -> None:
        """As at the beginning."""
        self._had = [0] * len(self._had)
        self._calls = 0

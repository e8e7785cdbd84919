"""What of a recording could not be had: where pictures are missing, how many were unreadable."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

NAMED = 3  # places that the message names; others are counted
RECENT = 25  # intervals by which a recording's own is known
STEADY, MOSTLY = 1.3, 0.8  # such a share is within so much of the usual: pictures come at a rate
ALERT = 20  # pictures that a decoder may hold while the gap behind damage is still to come
GAP, GAP_BESIDE_DAMAGE = 2.5, 1.5  # of the usual interval


@dataclass
class Missing:
    """indexed: the container lists its pictures, so that a pause is none of them missing

    unreadable: packets that could not be decoded; lost: whose picture never came
    damaged: pictures that were decoded with errors in them
    suspect: packets where the stream is not continuous, as at a joint, or after a loss
    """

    indexed: bool
    unreadable: int = 0
    lost: int = 0
    damaged: int = 0
    suspect: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)
    gaps: int = 0
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    _known_bad: int = 0
    _alert: int = 0

    def picture(self, last_ns: int, now_ns: int, stays_ns: int) -> None:
        """A picture has come after another. stays_ns: how long that one was to stay"""
        interval = now_ns - last_ns
        bad = self.unreadable + self.lost + self.suspect
        self._alert = ALERT if bad > self._known_bad else max(0, self._alert - 1)
        self._known_bad = bad
        if interval > self._longest(stays_ns):
            self.gaps += 1
            if len(self.places) < NAMED:
                self.places.append((last_ns + stays_ns, now_ns))
        self._recent.append(interval)

    def _longest(self, stays_ns: int) -> float:
        """Nanoseconds that may pass until the next picture."""
        recent = sorted(self._recent)
        usual = recent[len(recent) // 2] if recent else 0
        if self._alert:
            return GAP_BESIDE_DAMAGE * max(stays_ns, usual)
        alike = sum(usual <= STEADY * one and one <= STEADY * usual for one in recent)
        if self.indexed or len(recent) < RECENT // 2 or alike < MOSTLY * len(recent):
            return float("inf")
        return GAP * usual

    def told(self) -> list[str]:
        """Each finding as a part of a sentence."""
        found = []
        if self.places:
            named = " and ".join(
                f"between {start / 1e9:.2f} and {end / 1e9:.2f} s" for start, end in self.places
            )
            more = self.gaps - len(self.places)
            found.append(f"no pictures {named}{f' and in {more} more places' if more else ''}")
        if self.unreadable or self.lost:
            unread = _count(max(self.unreadable, self.lost), "picture")
            found.append(f"{unread} could not be read")
        if self.damaged:
            found.append(f"{_count(self.damaged, 'picture')} came damaged")
        return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

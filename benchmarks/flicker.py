"""How steady is what is drawn? Changes on an instrument that stays in view, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.naming_rate import visible_instances
from models.phantom import PhantomFrame
from models.types import BACKGROUND_ID, UInt8Array

OUTLINED = 0.1  # share of an instrument that is drawn, from which it has an outline


@dataclass(frozen=True)
class Flicker:
    """Over `seconds` in which an instrument was visible, each counted by itself.

    outlines: how often one came or went; names: how often one was drawn as something else
    """

    seconds: float = 0.0
    outlines: int = 0
    names: int = 0

    def __add__(self, other: Flicker) -> Flicker:
        return Flicker(
            self.seconds + other.seconds, self.outlines + other.outlines, self.names + other.names
        )

    def summary(self) -> dict[str, Any]:
        """Seconds of an instrument from one change to the next."""
        return {
            "instrument_seconds": round(self.seconds, 2),
            "outline_changes_every_s": round(self.seconds / max(self.outlines, 1), 2),
            "name_changes_every_s": round(self.seconds / max(self.names, 1), 2),
        }


def flicker(answers: Iterable[tuple[UInt8Array, PhantomFrame]], fps: float) -> Flicker:
    """Of consecutive frames of one clip. answers: (H, W) class map, and the truth"""
    before: dict[int, int] = {}
    seen = outlines = names = 0
    for found, frame in answers:
        now = {one: _drawn_as(found, frame, one) for one in visible_instances(frame)}
        pairs = [(before[one], drawn) for one, drawn in now.items() if one in before]
        outlines += sum((old == BACKGROUND_ID) != (new == BACKGROUND_ID) for old, new in pairs)
        names += sum(BACKGROUND_ID not in (old, new) and old != new for old, new in pairs)
        seen += len(pairs)
        before = now
    return Flicker(seen / fps, outlines, names)


def _drawn_as(found: UInt8Array, frame: PhantomFrame, instance: int) -> int:
    """The class drawn most on it, BACKGROUND_ID where hardly anything is."""
    own = found[frame.instance_mask == instance]
    drawn = own[own != BACKGROUND_ID]
    if len(drawn) < OUTLINED * len(own):
        return BACKGROUND_ID
    return int(np.bincount(drawn).argmax())

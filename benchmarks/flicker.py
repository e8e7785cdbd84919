"""How steady is what is drawn? Changes on an instrument that stays in view, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.naming_rate import visible_instances
from models.phantom import PhantomFrame
from models.types import BACKGROUND_ID, UNNAMED_ID, UInt8Array

OUTLINED = 0.1  # share of an instrument that is drawn, from which it has an outline


@dataclass(frozen=True)
class Flicker:
    """Over `seconds` in which an instrument was in view, each instrument counted by itself.

    outlines: how often its outline came or went; unnamed: its name came or went, in an outline that
    stayed; renamed: one name took another's place
    """

    seconds: float = 0.0
    outlines: int = 0
    unnamed: int = 0
    renamed: int = 0

    def __add__(self, other: Flicker) -> Flicker:
        return Flicker(
            self.seconds + other.seconds,
            self.outlines + other.outlines,
            self.unnamed + other.unnamed,
            self.renamed + other.renamed,
        )

    def summary(self) -> dict[str, Any]:
        """Seconds of an instrument, and changes in one of them."""
        return {
            "instrument_seconds": round(self.seconds, 2),
            "outline_changes_a_second": round(self.outlines / self.seconds, 4),
            "name_comes_or_goes_a_second": round(self.unnamed / self.seconds, 4),
            "name_for_another_a_second": round(self.renamed / self.seconds, 4),
        }


def flicker(answers: Iterable[tuple[UInt8Array, PhantomFrame]], fps: float) -> Flicker:
    """Of consecutive frames of one clip. answers: (H, W) class map, and the truth"""
    before: dict[int, int] = {}
    total = Flicker()
    for found, frame in answers:
        now = {one: _drawn_as(found, frame, one) for one in visible_instances(frame)}
        for one in now.keys() & before.keys():
            total += _change(before[one], now[one], 1 / fps)
        before = now
    return total


def _change(old: int, new: int, seconds: float) -> Flicker:
    if old == new:
        return Flicker(seconds)
    if BACKGROUND_ID in (old, new):
        return Flicker(seconds, outlines=1)
    if UNNAMED_ID in (old, new):
        return Flicker(seconds, unnamed=1)
    return Flicker(seconds, renamed=1)


def _drawn_as(found: UInt8Array, frame: PhantomFrame, instance: int) -> int:
    """The class drawn most on it, BACKGROUND_ID where hardly anything is."""
    own = found[frame.instance_mask == instance]
    drawn = own[own != BACKGROUND_ID]
    if len(drawn) < OUTLINED * len(own):
        return BACKGROUND_ID
    return int(np.bincount(drawn).argmax())

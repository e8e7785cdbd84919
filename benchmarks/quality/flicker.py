"""How steady is what is drawn? Changes on an instrument that stays in view, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from benchmarks.quality.naming_rate import visible_instances
from models.phantom import PhantomFrame
from models.types import BACKGROUND_ID, UNNAMED_ID, UInt8Array

OUTLINED = 0.1  # share of an instrument that is drawn, from which it has an outline


SEEN = "seen"
CHANGES = OUTLINE, NAME, OTHER = "outline_changes", "name_comes_or_goes", "name_for_another"


def flicker(answers: Iterable[tuple[UInt8Array, PhantomFrame]]) -> Counter[str]:
    """Changes over the consecutive frames of one clip, and the pairs of frames that were SEEN.

    Each instrument counts by itself while it is in view. OUTLINE: came or went; NAME: came or went,
    in an outline that stayed; OTHER: one name took another's place.
    answers: (H, W) class map, and the truth
    """
    before: dict[int, int] = {}
    counted: Counter[str] = Counter()
    for found, frame in answers:
        now = {one: _drawn_as(found, frame, one) for one in visible_instances(frame)}
        for one in now.keys() & before.keys():
            counted[SEEN] += 1
            if now[one] != before[one]:
                counted[_change(before[one], now[one])] += 1
        before = now
    return counted


def changes_a_second(counted: Counter[str], fps: float) -> dict[str, float]:
    """Seconds of an instrument, and changes in one of them. counted: of any number of clips"""
    seconds = counted[SEEN] / fps
    rates = {f"{one}_a_second": round(counted[one] / seconds, 4) for one in CHANGES}
    return {"fps": fps, "instrument_seconds": round(seconds, 2), **rates}


def _change(old: int, new: int) -> str:
    if BACKGROUND_ID in (old, new):
        return OUTLINE
    return NAME if UNNAMED_ID in (old, new) else OTHER


def _drawn_as(found: UInt8Array, frame: PhantomFrame, instance: int) -> int:
    """The class drawn most on it, BACKGROUND_ID where hardly anything is."""
    own = found[frame.instance_mask == instance]
    drawn = own[own != BACKGROUND_ID]
    if len(drawn) < OUTLINED * len(own):
        return BACKGROUND_ID
    return int(np.bincount(drawn).argmax())

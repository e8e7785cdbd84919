"""Where a frame's time goes between its capture and its pixels in the browser, in medians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streaming.mark import WRAP, number_of_mark

Cells = list[int]


@dataclass(frozen=True)
class Noted:
    """What the page noted, in milliseconds of its clock.

    seen: when each number was on the page, and its cells
    called: of each video frame's callback: when, when its last packet had come (None where the
        browser does not say), its RTP time, and what the video showed (None in the composed view)
    came: when each mask had come, for which RTP time and which frame
    offset_ms: what to add to get the monotonic clock
    """

    seen: Sequence[tuple[float, Cells]]
    called: Sequence[tuple[float, float | None, int | None, Cells | None]]
    came: Sequence[tuple[float, int, int]]
    offset_ms: float


def latencies_ms(noted: Noted, captured_ms: Mapping[int, float]) -> tuple[list[float], int]:
    """From capture to pixels, and how many numbers could not be read.

    captured_ms: by number, on the monotonic clock; others were captured before the measurement
    """
    numbers = [(number_of_mark(cells), now) for now, cells in noted.seen]
    times = [
        now + noted.offset_ms - captured_ms[number]
        for number, now in numbers
        if number is not None and number in captured_ms
    ]
    return times, sum(number is None for number, _ in numbers)


def stages_ms(noted: Noted, captured_ms: Mapping[int, float], sent_ms: float) -> dict[str, float]:
    """Medians of the parts. sent_ms: the median from capture to sending, of these pictures

    Composed view: a frame is received, decoded and called back for; its mask comes on its own way;
    when both are there, or the frame has waited long enough, it is drawn.
    """
    numbers = {stamp: number % WRAP for _, stamp, number in noted.came}
    received: dict[int, float] = {}
    called: dict[int, float] = {}
    for now, packets, stamp, cells in noted.called:
        number = number_of_mark(cells) if cells is not None else numbers.get(stamp or -1)
        if number is not None and number in captured_ms:
            since = noted.offset_ms - captured_ms[number]
            called[number] = now + since
            if packets is not None:
                received[number] = packets + since
    masks = {
        number % WRAP: now + noted.offset_ms - captured_ms[number % WRAP]
        for now, _, number in noted.came
        if number % WRAP in captured_ms
    }
    drawn: dict[int, float] = {}
    for now, cells in noted.seen:
        number = number_of_mark(cells)
        if number is not None and number in captured_ms:
            drawn[number] = now + noted.offset_ms - captured_ms[number]
    parts: dict[str, Any] = {
        "capture_to_sent": [sent_ms],
        "sent_to_received": [at - sent_ms for at in received.values()],
        "received_to_callback": [called[n] - at for n, at in received.items()],
    }
    if masks:
        parts["callback_to_drawn"] = [drawn[n] - at for n, at in called.items() if n in drawn]
        parts["capture_to_mask_received"] = list(masks.values())
        waited = [masks[n] - at for n, at in called.items() if n in masks]
        parts["callback_to_mask_received"] = waited
    return {name: round(float(np.median(each)), 1) for name, each in parts.items() if each}

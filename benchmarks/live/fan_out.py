"""What further viewers cost, and what a stalled one does to the others."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.live.remote_viewers import Seen, remote_viewers
from benchmarks.live.viewer import AskAnswer
from benchmarks.speed.processes import cpu_s
from service.live.session import Session

SETTLE_S = 3.0
MANY = 8
TURNS, VIEWER_TURNS = 6, 2

Span = tuple[int, int]  # monotonic ns, begin and end


@dataclass
class Spent:
    """What the service took, with so many viewers.

    Related to the pictures that went out: where viewers take the processor from the model, it
    makes fewer, and would seem to cost less.
    """

    seconds: float = 0.0
    service_s: float = 0.0
    model_s: float = 0.0
    pictures: float = 0.0

    def add(self, more: Sequence[float]) -> None:
        """Seconds, processor seconds of service and model, pictures."""
        seconds, service_s, model_s, pictures = more
        self.seconds += seconds
        self.service_s += service_s
        self.model_s += model_s
        self.pictures += pictures

    def cores(self) -> float:
        """Cores kept busy."""
        return round((self.service_s + self.model_s) / self.seconds, 3)

    def a_picture_ms(self) -> float:
        """Processor time that one picture took, for all its viewers."""
        return round((self.service_s + self.model_s) / self.pictures * 1e3, 2)

    def service_ms(self) -> float:
        """The same without the model."""
        return round(self.service_s / self.pictures * 1e3, 2)


async def measure_fan_out(
    session: Session, captured_ns: Mapping[int, int], seconds: float
) -> dict[str, Any]:
    """One viewer, then eight: processor time of the service with its model, viewers apart.

    Then two viewers without and with a third one who stopped taking anything; of the plain picture,
    because how long the model takes has nothing to do with it.
    """
    few, many = (await _by_viewers(session, (1, MANY), seconds)).values()
    alone, beside = await _stalled(functools.partial(ask, session, "plain"), captured_ns, seconds)
    return {
        "viewers": [1, MANY],
        "cores": [few.cores(), many.cores()],
        "ms_a_picture": [few.a_picture_ms(), many.a_picture_ms()],
        "ms_a_picture_without_the_model": [few.service_ms(), many.service_ms()],
        "ratio": round(many.a_picture_ms() / few.a_picture_ms(), 3),
        "p95_ms_without_a_stalled_viewer": alone,
        "p95_ms_beside_a_stalled_viewer": beside,
        "p95_ratio": round(beside / alone, 3),
    }


async def measure_viewers(
    session: Session, counts: Sequence[int], seconds: float
) -> dict[str, dict[str, float]]:
    """Processor time of a picture of the burnt-in view, by the number of its viewers."""
    spent = await _by_viewers(session, counts, seconds)
    first = spent[counts[0]].a_picture_ms()
    return {
        str(count): {
            "ms_a_picture": one.a_picture_ms(),
            "ms_a_picture_without_the_model": one.service_ms(),
            "times_the_first": round(one.a_picture_ms() / first, 3),
        }
        for count, one in spent.items()
    }


async def _by_viewers(session: Session, counts: Sequence[int], seconds: float) -> dict[int, Spent]:
    """So many seconds of each, in turn."""
    spent = {count: Spent() for count in counts}
    for _ in range(VIEWER_TURNS):
        for count, one in spent.items():
            await _spend(session, count, seconds / VIEWER_TURNS, one)
    return spent


async def ask(session: Session, view: str, sdp: str) -> str:
    """A viewer's offer, answered in this process."""
    return (await session.peers.answer(sdp, view)).sdp


async def _spend(session: Session, count: int, seconds: float, spent: Spent) -> None:
    """Add what the service takes with so many viewers of the burnt-in view."""
    async with remote_viewers(functools.partial(ask, session, "overlay"), count):
        await asyncio.sleep(SETTLE_S)
        before = _taken(session)
        await asyncio.sleep(seconds)
        after = _taken(session)
    spent.add([late - early for late, early in zip(after, before, strict=True)])


def _taken(session: Session) -> tuple[float, float, float, float]:
    """Seconds, processor seconds of the service and of the model, pictures, so far."""
    assert session.model_pid is not None
    pictures = session.status().renditions["overlay"].encoded
    return time.monotonic(), cpu_s([os.getpid()]), cpu_s([session.model_pid]), pictures


async def _stalled(
    ask: AskAnswer, captured_ns: Mapping[int, int], seconds: float
) -> tuple[float, float]:
    """95th percentile of two viewers: by themselves, beside a stalled one, and again, in turns.

    By themselves there is no third viewer: one who watches takes the processor to decode, one who
    is stalled does not.
    """
    alone: list[Span] = []
    beside: list[Span] = []
    turn_s = 2 * seconds / TURNS
    async with remote_viewers(ask, 2) as others:
        for _ in range(TURNS // 2):
            await asyncio.sleep(SETTLE_S)
            alone.append(await _span(turn_s))
            async with remote_viewers(ask, 1) as third:
                await asyncio.sleep(SETTLE_S)
                third.stall()
                beside.append(await _span(turn_s))
                third.go_on()
        seen = await others.finish()
    return _p95(seen, captured_ns, alone), _p95(seen, captured_ns, beside)


async def _span(seconds: float) -> Span:
    began = time.monotonic_ns()
    await asyncio.sleep(seconds)
    return began, time.monotonic_ns()


def _p95(seen: list[Seen], captured_ns: Mapping[int, int], spans: list[Span]) -> float:
    latencies = [
        (decoded - captured_ns[index]) / 1e6
        for one in seen
        for index, decoded in one.frames(captured_ns)
        if any(begin <= captured_ns[index] <= end for begin, end in spans)
    ]
    return round(float(np.percentile(latencies, 95)), 1)

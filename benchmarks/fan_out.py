"""What further viewers cost, and what a stalled one does to the others."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.processes import cpu_s
from benchmarks.remote_viewers import Seen, remote_viewers
from benchmarks.viewer import AskAnswer
from service.session import Session

SETTLE_S = 3.0
MANY = 8
TURNS = 6


async def measure_fan_out(
    session: Session, captured_ns: Mapping[int, int], seconds: float
) -> dict[str, Any]:
    """One viewer, then eight: processor time of the service with its model, viewers apart.

    Then two viewers with and without a third one who stopped taking anything; of the plain picture,
    because how long the model takes has nothing to do with it.
    """
    assert session.model_pid is not None
    pids = (os.getpid(), session.model_pid)
    overlay = functools.partial(_ask, session, "overlay")
    one = await _cores(overlay, pids, 1, seconds)
    many = await _cores(overlay, pids, MANY, seconds)
    again = await _cores(overlay, pids, 1, seconds)
    single = (one + again) / 2
    alone, beside = await _stalled(functools.partial(_ask, session, "plain"), captured_ns, seconds)
    return {
        "cores_1_viewer": round(single, 3),
        f"cores_{MANY}_viewers": round(many, 3),
        "ratio": round(many / single, 3),
        "p95_ms_without_a_stalled_viewer": alone,
        "p95_ms_beside_a_stalled_viewer": beside,
        "p95_ratio": round(beside / alone, 3),
    }


async def _ask(session: Session, view: str, sdp: str) -> str:
    return (await session.peers.answer(sdp, view)).sdp


async def _cores(ask: AskAnswer, pids: tuple[int, ...], count: int, seconds: float) -> float:
    """Cores that the service keeps busy with so many viewers."""
    async with remote_viewers(ask, count):
        await asyncio.sleep(SETTLE_S)
        before, started = cpu_s(pids), time.monotonic()
        await asyncio.sleep(seconds)
        return (cpu_s(pids) - before) / (time.monotonic() - started)


async def _stalled(
    ask: AskAnswer, captured_ns: Mapping[int, int], seconds: float
) -> tuple[float, float]:
    """95th percentile of the others, in turns: without him, beside him, and again."""
    turns: list[tuple[int, int, bool]] = []
    async with remote_viewers(ask, 2) as others, remote_viewers(ask, 1) as third:
        await asyncio.sleep(SETTLE_S)
        for turn in range(TURNS):
            stalled = turn % 2 == 1
            if stalled:
                third.stall()
            began = time.monotonic_ns()
            await asyncio.sleep(2 * seconds / TURNS)
            turns.append((began, time.monotonic_ns(), stalled))
            if stalled:
                third.go_on()
                await asyncio.sleep(1.0)  # what had piled up at the viewer is not measured
        seen = await others.finish()
    return _p95(seen, captured_ns, turns, False), _p95(seen, captured_ns, turns, True)


def _p95(
    seen: list[Seen],
    captured_ns: Mapping[int, int],
    turns: list[tuple[int, int, bool]],
    stalled: bool,
) -> float:
    spans = [(begin, end) for begin, end, was in turns if was is stalled]
    latencies = [
        (decoded - captured_ns[number]) / 1e6
        for one in seen
        for number, decoded in one.pictures
        if any(begin <= captured_ns[number] <= end for begin, end in spans)
    ]
    return round(float(np.percentile(latencies, 95)), 1)

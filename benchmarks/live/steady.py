"""`trocar bench steady`: is a live session as quick, and as small, at the end as at the beginning?

One viewer in another process watches burnt-in masks, as in `trocar bench loopback`; of every minute
the time from capture to decoded pixels, and the memory of the processes at its end.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.live.fan_out import ask
from benchmarks.live.loopback import LoopbackConfig, loopback_pictures, loopback_session
from benchmarks.live.remote_viewers import RemoteViewers, Seen, remote_viewers
from benchmarks.result_file import result, write_result
from benchmarks.speed.processes import rss_mib
from benchmarks.speed.timing import distribution
from service.live.session import Session
from service.settings import let_threads_sleep

TICKS = 60  # of a minute, for the progress bar
LATENCY_GROWTH, RSS_GROWTH = 1.15, 1.05  # at most, from the second minute to the last
LEAST_SEEN = 0.99  # of the frames captured from the second minute on


@dataclass(frozen=True)
class SteadyConfig:
    """minutes: at least two, after warm-up; minute_s: seconds of one, for tests; size: (H, W)"""

    minutes: int = 10
    minute_s: float = 60.0
    warm_up_s: float = 10.0
    size: tuple[int, int] = (480, 640)
    fps: int = 25
    engine: str = "auto"
    note: str = ""


@dataclass
class Minute:
    """A minute from its beginning to its end, monotonic ns, and the memory at its end, MiB."""

    begin_ns: int
    end_ns: int
    rss_mib: dict[str, float]


def run_steady(config: SteadyConfig, out: Path) -> int:
    """Measure, print, write the JSON. Returns 1 where something grew."""
    let_threads_sleep()
    content = asyncio.run(measure_steady(config))
    write_result(content, out)
    print(_table(content))
    return 0 if content["steady"] else 1


async def measure_steady(config: SteadyConfig) -> dict[str, Any]:
    """The result file's content."""
    loop = LoopbackConfig(size=config.size, fps=config.fps, engine=config.engine)
    async with loopback_session(loopback_pictures(loop), loop) as (session, source):
        async with remote_viewers(functools.partial(ask, session, "overlay")) as viewers:
            minutes = await _watch(session, viewers, config)
            (seen,) = await viewers.finish()
        status = session.status()
    rows = [minute_row(minute, seen, source.captured_ns) for minute in minutes]
    grown, seen_share = growth(rows), share_seen(rows[1:])
    return result(
        "steady",
        asdict(config) | {"view": "overlay", "profile": loop.profile},
        config.note,
        what="capture to decoded pixels, one viewer in another process, one machine; ms",
        minutes=rows,
        last_over_second=grown,
        frames_seen=seen_share,
        steady=is_steady(grown, seen_share),
        unreadable=seen.unreadable,
        step_ms=asdict(status.step_ms),
        model_starts=status.model_starts,
        updates=status.updates,
    )


async def _watch(session: Session, viewers: RemoteViewers, config: SteadyConfig) -> list[Minute]:
    """Let the time pass; the benchmark's own process is the service's."""
    await asyncio.sleep(config.warm_up_s)
    pids = {"server": os.getpid(), "model": session.model_pid, "viewer": viewers.pid}
    minutes: list[Minute] = []
    began_ns = begin_ns = time.monotonic_ns()
    for tick in tqdm(range(1, config.minutes * TICKS + 1), unit="s", desc="steady"):
        due_ns = began_ns + int(tick * config.minute_s / TICKS * 1e9)
        await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        if tick % TICKS == 0:
            rss = {name: rss_mib([pid]) for name, pid in pids.items() if pid is not None}
            minutes.append(Minute(begin_ns, due_ns, rss))
            begin_ns = due_ns
    return minutes


def minute_row(minute: Minute, seen: Seen, captured_ns: Mapping[int, int]) -> dict[str, Any]:
    """Of the frames captured in a minute: how long they took, how many were not seen."""
    inside = {n: at for n, at in captured_ns.items() if minute.begin_ns <= at < minute.end_ns}
    latencies = [(at - inside[n]) / 1e6 for n, at in seen.frames(captured_ns) if n in inside]
    lost = {"frames_captured": len(inside), "frames_not_seen": len(inside) - len(latencies)}
    return distribution(latencies) | lost | {"rss_mib": minute.rss_mib}


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The last minute's figures over the second's; no times where in one of them no frame came."""
    second, last = rows[1], rows[-1]
    times = [key for key in ("p50", "p95") if key in second and key in last]
    figures = {f"{key}_ms": (last[key], second[key]) for key in times}
    for name, before in second["rss_mib"].items():
        figures[f"{name}_rss"] = (last["rss_mib"][name], before)
    return {name: round(after / before, 4) for name, (after, before) in figures.items()}


def share_seen(rows: Sequence[dict[str, Any]]) -> float:
    """Of the frames captured in these minutes."""
    lost, made = (sum(row[key] for row in rows) for key in ("frames_not_seen", "frames_captured"))
    return float(round(1 - lost / max(made, 1), 4))


def is_steady(grown: Mapping[str, float], seen: float = 1.0) -> bool:
    """No more than the service may grow; the viewer notes what he saw, and is not the service.

    Without times it is not steady, nor where frames were lost. seen: share of the frames
    """
    if seen < LEAST_SEEN:
        return False
    service = (grown["server_rss"], grown["model_rss"])
    return grown.get("p95_ms", float("inf")) <= LATENCY_GROWTH and max(service) <= RSS_GROWTH


def _table(content: dict[str, Any]) -> str:
    names = list(content["minutes"][0]["rss_mib"])
    head = "".join(f"{name + ', MiB':>14}" for name in names)
    lines = [f"minute{'p50, ms':>10}{'p95':>8}{'p99':>8}{'max':>8}  lost{head}"]
    for number, row in enumerate(content["minutes"], 1):
        percentiles = [row.get(key) for key in ("p50", "p95", "p99", "max")]
        figures = "".join(f"{'-':>8}" if one is None else f"{one:8.1f}" for one in percentiles)
        memory = "".join(f"{row['rss_mib'][name]:14.1f}" for name in names)
        lines.append(f"{number:>6}  {figures}{row['frames_not_seen']:>6}{memory}")
    grown = ", ".join(f"{name} {value:.3f}" for name, value in content["last_over_second"].items())
    return "\n".join([*lines, f"last over second minute: {grown}; steady: {content['steady']}"])

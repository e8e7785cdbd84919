"""`trocar bench scale`: what a step costs as classes, image size and sessions grow, and viewers.

One class at a time learns, as in a live stream. Classes and image sizes
are measured in turn, a few steps each, again and again, so that what else the machine does falls on
all of them; numbers of sessions one after the other. Viewers, of a live session, cost the model
nothing: what a picture costs with so many is the processor time of service and model.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.live.fan_out import measure_viewers
from benchmarks.live.loopback import LoopbackConfig, loopback_pictures, loopback_session
from benchmarks.result_file import result, write_result
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import StepTimer, distribution
from service.settings import let_threads_sleep

CLASSES, SIZES, SESSIONS = (1, 2, 4, 8), (256, 384, 512, 1024), (1, 2, 4)
VIEWERS = (1, 4, 8)
WARM_UP, LEAST, TURN = 3, 6, 3  # steps before it counts, measured at least, measured in a turn


@dataclass(frozen=True)
class ScaleConfig:
    """seconds: of each point; largest: image size to end with"""

    engine: str = "auto"
    seconds: float = 5.0
    largest: int = 1024
    note: str = ""


def run_scale(config: ScaleConfig, out: Path) -> int:
    """Measure, print the tables, write the JSON."""
    plain = Subject()
    axes = {
        "classes": {str(n): replace(plain, classes=n) for n in CLASSES},
        "image size": {str(n): replace(plain, image_size=n) for n in SIZES if n <= config.largest},
    }
    measured = {axis: measure_axis(axis, points, config) for axis, points in axes.items()}
    measured["sessions"] = measure_sessions(config)
    measured["viewers"] = asyncio.run(_measure_viewers(config))
    content = result("scale", asdict(config), config.note, axes=measured)
    write_result(content, out)
    print(scale_table(content))
    return 0


def measure_axis(axis: str, points: dict[str, Subject], config: ScaleConfig) -> dict[str, Any]:
    """Distributions of the points' steps. points: by their label, the first is the unit"""
    runs = {
        label: StepTimer(subject.tracker(config.engine, timed=True))
        for label, subject in points.items()
    }
    return _in_turn(axis, runs, config)


def _in_turn(axis: str, runs: dict[str, StepTimer], config: ScaleConfig) -> dict[str, Any]:
    frames = pictures()
    for run in runs.values():
        for image in frames[:WARM_UP]:
            run.step(image, counts=False)
    spent = dict.fromkeys(runs, 0.0)
    bar = tqdm(total=round(config.seconds * len(runs)), unit="s", desc=axis, leave=False)
    while open_runs := [label for label in runs if _goes_on(runs[label], spent[label], config)]:
        for label in open_runs:
            started = time.perf_counter()
            for _ in range(TURN):
                runs[label].step(frames[len(runs[label].look_ms) % len(frames)])
            spent[label] += time.perf_counter() - started
        bar.n = min(bar.total, round(sum(spent.values())))
        bar.refresh()
    bar.close()
    first = next(iter(runs.values()))
    unit = distribution(first.step_ms)["p50"]
    return {
        label: {
            "step_ms": (whole := distribution(run.step_ms)),
            "look_ms": distribution(run.look_ms),
            "times_the_first": round(whole["p50"] / unit, 3),
            "look_times_the_first": round(
                distribution(run.look_ms)["p50"] / distribution(first.look_ms)["p50"], 3
            ),
            "rows_taught_per_step": round(run.taught / len(run.look_ms), 3),
        }
        for label, run in runs.items()
    }


def _goes_on(run: StepTimer, spent: float, config: ScaleConfig) -> bool:
    return spent < config.seconds or len(run.look_ms) < LEAST


def measure_sessions(config: ScaleConfig) -> dict[str, Any]:
    """Sessions that share the model's process: frames a second of each, and of all together."""
    weights, frames = Subject().weights(), pictures()
    trackers = [Subject().tracker(config.engine, weights) for _ in range(max(SESSIONS))]
    for tracker in trackers:
        for image in frames[:WARM_UP]:
            tracker.step(image)
    measured = {}
    for count in tqdm(SESSIONS, desc="sessions", unit="point", leave=False):
        steps, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < config.seconds or steps < LEAST:
            for tracker in trackers[:count]:
                tracker.step(frames[steps % len(frames)])
            steps += 1
        measured[str(count)] = {
            "frames_a_second_each": round(steps / spent, 3),
            "frames_a_second_in_all": round(steps * count / spent, 3),
        }
    return measured


async def _measure_viewers(config: ScaleConfig) -> dict[str, Any]:
    let_threads_sleep()
    loop = LoopbackConfig(engine=config.engine)
    async with loopback_session(loopback_pictures(loop), loop) as (session, _):
        return await measure_viewers(session, VIEWERS, config.seconds)


def scale_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = []
    for axis in ("classes", "image size"):
        lines.append(f"{axis:<14}{'step p50 ms':>12}{'p95':>8}{'times':>8}{'look, times':>14}")
        for label, point in content["axes"].get(axis, {}).items():
            step = point["step_ms"]
            lines.append(
                f"{label:<14}{step['p50']:>12.1f}{step['p95']:>8.1f}"
                f"{point['times_the_first']:>8.2f}{point['look_times_the_first']:>14.2f}"
            )
    lines.append(f"{'sessions':<14}{'frames/s each':>14}{'in all':>10}")
    for label, point in content["axes"].get("sessions", {}).items():
        each, whole = point["frames_a_second_each"], point["frames_a_second_in_all"]
        lines.append(f"{label:<14}{each:>14.1f}{whole:>10.1f}")
    lines.append(f"{'viewers':<14}{'ms a picture':>14}{'times':>8}{'without the model':>20}")
    for label, point in content["axes"].get("viewers", {}).items():
        whole, own = point["ms_a_picture"], point["ms_a_picture_without_the_model"]
        lines.append(f"{label:<14}{whole:>14.1f}{point['times_the_first']:>8.2f}{own:>20.1f}")
    return "\n".join(lines)

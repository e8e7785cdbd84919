"""`trocar bench streaming-accuracy`: the score of what is on display, speed and accuracy in one.

A frame is shown at the instant it comes, with the newest mask there is at that instant, and scored
with it (Li et al., Towards Streaming Perception, ECCV 2020). Steps really run and are timed; the
clock on which they take that long is virtual, so that a slow machine can measure a fast stream, and
everybody sees the same frames. The model takes the newest frame whenever it is free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.quality.metrics import Spread, dsc
from benchmarks.result_file import result, write_result
from benchmarks.speed.timing import distribution
from models.engines.interface import EngineChoice
from models.method.checkpoint import load_embedded
from models.method.profile import load_profile
from models.phantom import Procedure
from models.tracking.tracker import Tracker
from models.types import UInt8Array

FIRST_SEED = 60_000  # procedures that were neither trained nor fitted on
SIZE = (256, 256)
RATES = (10, 25, 50)


@dataclass(frozen=True)
class StreamingConfig:
    """clips of unseen procedures, each of some seconds; rates: frames a second"""

    engines: tuple[str, ...] = ("torch", "onnx")
    clips: int = 4
    seconds: float = 3.0
    rates: tuple[int, ...] = RATES
    note: str = ""


@dataclass(frozen=True)
class TimedMask:
    """A step's mask, and how long after its start it is there and the model is free again."""

    class_map: UInt8Array
    shown_after_s: float
    free_after_s: float


@dataclass(frozen=True)
class Shown:
    """What was on display with each frame: the number of the frame its mask is of, None: no mask.

    maps: by that number
    """

    source: list[int | None]
    maps: dict[int, UInt8Array]


def play(
    frames: Sequence[UInt8Array], fps: float, segment: Callable[[UInt8Array], TimedMask]
) -> Shown:
    """A stream on a virtual clock: frame i comes at i / fps, the model takes the newest."""
    ready: list[tuple[float, int]] = []  # when a mask is there, and of which frame
    maps: dict[int, UInt8Array] = {}
    free, last = 0.0, -1
    while last + 1 < len(frames):
        newest = int(free * fps + 1e-9)
        number = max(last + 1, min(newest, len(frames) - 1))
        start = max(free, number / fps)
        answer = segment(frames[number])
        maps[number] = answer.class_map
        ready.append((start + answer.shown_after_s, number))
        free, last = start + answer.free_after_s, number
    source: list[int | None] = []
    for number in range(len(frames)):
        there = [of for at, of in ready if at <= number / fps]
        source.append(there[-1] if there else None)
    return Shown(source, maps)


def run_streaming(config: StreamingConfig, out: Path) -> int:
    """Measure, print one table, write the JSON."""
    content = measure_streaming(config)
    write_result(content, out)
    print(streaming_table(content))
    return 0


def measure_streaming(config: StreamingConfig) -> dict[str, Any]:
    """The result file's content: DSC of any instrument, over clips."""
    weights, profile = load_embedded(), load_profile("instrument")
    trackers = {
        name: Tracker(weights, profile, engine=EngineChoice(name)) for name in config.engines
    }
    scores: dict[str, dict[int, list[_Score]]] = {
        name: {rate: [] for rate in config.rates} for name in trackers
    }
    bar = tqdm(total=config.clips * len(config.rates), unit="run", desc="streaming accuracy")
    for number in range(config.clips):
        clip = Procedure(FIRST_SEED + number).clip(0, size=SIZE)
        for rate in config.rates:
            times = [index / rate for index in range(round(config.seconds * rate))]
            rendered = [clip.render(at) for at in times]
            truths = [frame.class_mask > 0 for frame in rendered]
            for name, tracker in trackers.items():
                scored = _scored(tracker, [frame.image_rgb for frame in rendered], truths, rate)
                scores[name][rate].append(scored)
            bar.update()
    bar.close()
    return result(
        "streaming-accuracy",
        asdict(config),
        config.note,
        engines={
            name: {str(rate): _summary(each) for rate, each in by_rate.items()}
            for name, by_rate in scores.items()
        },
    )


@dataclass(frozen=True)
class _Score:
    """Of one clip: DSC on display, and of the mask that belongs to each frame that was seen."""

    displayed: float
    own: float
    seen: float
    step_ms: list[float]


def _scored(tracker: Tracker, images: list[UInt8Array], truths: list[Any], rate: int) -> _Score:
    tracker.reset()
    step_ms: list[float] = []

    def segment(image: UInt8Array) -> TimedMask:
        answer = tracker.segment(image)
        looked = answer.step_ms
        whole = looked + _timed_learning(tracker)
        step_ms.append(whole)
        return TimedMask(answer.class_map, looked / 1e3, whole / 1e3)

    shown = play(images, rate, segment)
    empty = np.zeros(SIZE, np.uint8)
    displayed = [
        dsc((shown.maps[of] if of is not None else empty) > 0, truth)
        for of, truth in zip(shown.source, truths, strict=True)
        if truth.any()
    ]
    own = [dsc(found > 0, truths[of]) for of, found in shown.maps.items() if truths[of].any()]
    seen = len(shown.maps) / len(images)
    return _Score(_mean(displayed), _mean(own), seen, step_ms)


def _timed_learning(tracker: Tracker) -> float:
    from time import perf_counter

    started = perf_counter()
    tracker.update()
    return (perf_counter() - started) * 1e3


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _summary(each: list[_Score]) -> dict[str, Any]:
    return {
        "displayed_dsc": asdict(Spread.of([one.displayed for one in each])),
        "own_dsc": asdict(Spread.of([one.own for one in each])),
        "frames_seen": round(_mean([one.seen for one in each]), 3),
        "step_ms": distribution([value for one in each for value in one.step_ms]),
    }


def streaming_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'':<12}{'frames/s':>9}{'DSC on display':>18}{'DSC of its own':>18}{'seen':>7}"]
    for name, by_rate in content["engines"].items():
        for rate, row in by_rate.items():
            cells = [row["displayed_dsc"], row["own_dsc"]]
            text = "".join(str(Spread(**one)).rjust(18) for one in cells)
            lines.append(f"{name:<12}{rate:>9}{text}{row['frames_seen']:>7.0%}")
    return "\n".join(lines)

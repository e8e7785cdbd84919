"""`trocar bench lessons`: what a frame that a person corrects is worth for the rest of the clip.

Procedures that nothing was trained or chosen on, a profile from eight frames of other clips, two
streams of each: in the same light, and in another one from the start. In a lesson a person names
one instrument, the largest that is wrongly named or missed, and says nothing of the rest; what
follows is compared with the same stream without it.
"""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.environment import environment
from benchmarks.quality.embedded import SHOTS, SIZE, few_shot_profile
from benchmarks.quality.metrics import Spread
from benchmarks.quality.naming_rate import rightly_named, visible_instances
from benchmarks.result_file import write_result
from benchmarks.speed.variants import Tally, score_frame
from models.method.checkpoint import load_embedded
from models.method.profile import Profile
from models.phantom import PhantomFrame, Procedure, Shift
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import IGNORE_ID, UInt8Array

FIRST_SEED = 61_000
CLIP, FRAMES, STEP_S = 10, 24, 0.16
LESSONS_AT = (5, 8, 11)  # frames
PATHS = {"head": Ablation.for_video(), "memory": Ablation(instances=False)}
LIGHTS = {
    "same light": None,
    "another light": Shift(at_s=-10.0, light=0.55, warmth=1.25, smoke=0.5, blood=0.25),
}
POOR = 0.65  # class DSC below which a start is a poor one


@dataclass(frozen=True)
class Scores:
    """Of one stream's frames after a lesson. absent: share of absent classes drawn"""

    class_dsc: float
    named: float
    absent: float

    @classmethod
    def of(cls, tally: Tally) -> Scores:
        """As the other benchmarks count."""
        return cls(tally.class_dsc(), tally.named_share(), tally.alarm_share())


def run_lessons(procedures: int, out: Path | None, first_seed: int = FIRST_SEED) -> int:
    """Measure, print a table, write JSON. Returns the exit code."""
    seeds = range(first_seed, first_seed + procedures)
    with ProcessPoolExecutor(
        mp_context=mp.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as workers:
        bar = tqdm(workers.map(taught_in_procedure, seeds), total=procedures, desc="lessons")
        units = list(bar)
    streams = {
        key: stream_summary([unit[key] for unit in units if key in unit]) for key in units[0]
    }
    print(lessons_table(streams))
    if out is not None:
        settings = {"procedures": procedures, "first_seed": first_seed, "shots": SHOTS}
        write_result({"environment": environment()} | settings | {"streams": streams}, out)
    return 0


def taught_in_procedure(seed: int) -> dict[str, dict[str, Scores]]:
    """By stream, the scores without and with lessons."""
    weights = load_embedded()
    profile = few_shot_profile(weights, seed, SHOTS)
    found = {}
    for light, shift in LIGHTS.items():
        clip = Procedure(seed).clip(CLIP, size=SIZE, shift=shift)
        frames = [clip.render(number * STEP_S) for number in range(FRAMES)]
        for path, ablation in PATHS.items():
            tracker = Tracker(weights, profile, ablation)
            found[f"{path}, {light}"] = taught_in_stream(tracker, profile, frames)
    return found


def taught_in_stream(
    tracker: Tracker, profile: Profile, frames: list[PhantomFrame]
) -> dict[str, Scores]:
    """none, one: frames after the first lesson; none later, 1, 2, 3: after the third"""
    ids = {spec.class_id for spec in profile.classes}
    first, last = LESSONS_AT[0], LESSONS_AT[-1]
    found = {}
    for count in range(len(LESSONS_AT) + 1):
        early, late = Tally(), Tally()
        tracker.reset()
        for number, frame in enumerate(frames):
            result = tracker.step(frame.image_rgb)
            if number in LESSONS_AT[:count]:
                tracker.teach(frame.image_rgb, correction(frame, result.class_map, ids))
            for tally in _counted(number, {first: early, last: late}):
                score_frame(result, frame.class_mask, tally)
                tally.named += rightly_named(result.class_map, frame)
        if count < 2:
            found["one" if count else "none"] = Scores.of(early)
        found[str(count)] = Scores.of(late)
    return found


def _counted(number: int, tallies: dict[int, Tally]) -> Iterator[Tally]:
    yield from (tally for after, tally in tallies.items() if number > after)


def correction(frame: PhantomFrame, shown: UInt8Array, ids: set[int]) -> UInt8Array:
    """One instrument with its name, 255 elsewhere: the largest error, else the largest of all.

    shown: (H, W) as it was drawn; ids: of the profile's classes
    """
    wrong: dict[int, int] = {}
    others: dict[int, int] = {}
    for number, class_id in visible_instances(frame).items():
        mask = frame.instance_mask == number
        drawn = np.bincount(shown[mask], minlength=256)
        right = drawn.argmax() == class_id
        if class_id in ids:
            (others if right else wrong)[number] = int(mask.sum())
    lesson = np.full(shown.shape, IGNORE_ID, np.uint8)
    chosen = wrong or others
    if not chosen:  # nothing of the profile's is in sight: a person says so
        return np.zeros_like(lesson)
    number = max(chosen, key=lambda one: chosen[one])
    mask = frame.instance_mask == number
    lesson[mask] = frame.class_mask[mask]
    return lesson


def stream_summary(units: list[dict[str, Scores]]) -> dict[str, Any]:
    """Means and spreads, and what a lesson changed, from poor starts and from better ones."""
    scores = {
        key: {name: asdict(Spread.of(_each(units, key, name))) for name in asdict(units[0][key])}
        for key in units[0]
    }
    gain = [unit["one"].class_dsc - unit["none"].class_dsc for unit in units]
    poor = [unit["none"].class_dsc < POOR for unit in units]
    each = list(zip(gain, poor, strict=True))
    return {
        "scores": scores,
        "gain": asdict(Spread.of(gain)),
        "gain_from_poor": asdict(Spread.of([one for one, is_poor in each if is_poor])),
        "gain_from_better": asdict(Spread.of([one for one, is_poor in each if not is_poor])),
        "better": sum(one > 0.005 for one in gain),
        "worse": sum(one < -0.005 for one in gain),
        "each": [asdict(unit["none"]) | {"taught": asdict(unit["one"])} for unit in units],
    }


def _each(units: list[dict[str, Scores]], key: str, name: str) -> list[float]:
    return [getattr(unit[key], name) for unit in units]


def lessons_table(streams: dict[str, Any]) -> str:
    """For a person."""
    lines = [
        f"{'class DSC / right name / absent drawn':<40}{'none':>17}{'one lesson':>17}{'gain':>16}"
    ]
    for name, found in streams.items():
        cells = [
            " / ".join(
                f"{found['scores'][key][one]['mean']:.2f}" for one in asdict(Scores(0, 0, 0))
            )
            for key in ("none", "one")
        ]
        gain = found["gain"]
        lines.append(
            f"{name:<40}{cells[0]:>20}{cells[1]:>20}  {gain['mean']:+.3f} ± {gain['std']:.3f}"
            f" ({found['better']} better, {found['worse']} worse)"
        )
        poor, fair = found["gain_from_poor"], found["gain_from_better"]
        later = ", ".join(
            f"{key}: {found['scores'][key]['class_dsc']['mean']:.2f}"
            for key in ("0", "1", "2", "3")
        )
        lines.append(
            f"  from under {POOR}: {poor['mean']:+.3f} (n = {poor['count']}); from more: "
            f"{fair['mean']:+.3f} (n = {fair['count']}); lessons {later}"
        )
    return "\n".join(lines)

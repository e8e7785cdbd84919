"""`trocar bench embedded`: what the embedded default reaches on phantoms it has never seen.

Five questions: does it find instruments with nothing annotated; does it follow an instance from
its first mask; does it answer clicks; does it name kinds from eight frames of other clips, and what
does each part of the method give; do online updates help, also when the appearance shifts in
mid-clip. Training used procedures from seed 1,000,000 on; these are below 100,000.
"""

from __future__ import annotations

import multiprocessing as mp
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.environment import environment
from benchmarks.figures import bar_figure
from benchmarks.quality.calibration import Reliability
from benchmarks.quality.clicked import click_summary, clicked_in_clip
from benchmarks.quality.embedded_tables import print_click, print_find, print_name, print_track
from benchmarks.quality.flicker import changes_a_second, flicker
from benchmarks.quality.metrics import Spread, iou
from benchmarks.quality.naming_rate import ColourNames, rightly_named
from benchmarks.result_file import write_result
from benchmarks.speed.variants import VARIANTS, Tally, run_sequence, score_frame
from models.config import FitConfig, LearnerConfig
from models.fitting.annotated import AnnotatedFrames, Pair, Shots
from models.fitting.fit import fit_frames
from models.method.checkpoint import LoadedWeights, load_embedded
from models.method.profile import Profile, load_profile
from models.phantom import CLASSES, PhantomFrame, Procedure, Shift
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import ClassSpec, UInt8Array

Unit = TypeVar("Unit")
Clip = list[PhantomFrame]

FIRST_SEED = 20_000
SIZE = (256, 256)
SHOTS, SUPPORT_CLIPS = 8, range(4)
TEST_CLIPS = (10, 11)
FPS = 25.0
FIND_FRAMES, TRACK_FRAMES = 16, 60
NAME_FRAMES, NAME_STEP_S = 16, 0.12  # two seconds of video
FLICKER_FRAMES = 75
NAMED = ("full", "no update", "pixels named", "support memory alone")
SHIFTED = CARRIED = ("full", "no update")
SHIFT = Shift(at_s=1.0)


def run_embedded(procedures: int, clips: int, out: Path) -> int:
    """Measure, print tables, write JSON and a figure beside it. Returns the exit code."""
    result: dict[str, Any] = {
        "environment": environment(),
        "weights_sha256": load_embedded().sha256,
    }
    with ProcessPoolExecutor(
        mp_context=mp.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as workers:
        result["find"] = find(workers, clips)
        print_find(result["find"])
        result["track"] = track(workers, clips)
        print_track(result["track"])
        result["click"] = click_summary(each(workers, clicked_in_clip, clips, "click"))
        print_click(result["click"])
        result["name"] = name(workers, procedures)
        print_name(result["name"])
    write_result(result, out)
    bars = {key: value["class_dsc"] for key, value in result["name"]["variants"].items()}
    bar_figure(bars, "class DSC, 8 annotated frames of other clips", out.with_suffix(".png"))
    return 0


def each(workers: Executor, unit: Callable[[int], Unit], count: int, label: str) -> list[Unit]:
    """The unit's results for 0 to count - 1, one process per core, with a progress bar."""
    return list(tqdm(workers.map(unit, range(count)), total=count, desc=label, unit="unit"))


def find(workers: Executor, clips: int) -> dict[str, Any]:
    """Any instrument, embedded profile `instrument`, one clip of each unseen procedure."""
    tallies = each(workers, find_in_clip, clips, "find")
    alarms = [alarm for tally in tallies for alarm in tally.alarms.get(1, [])]
    return {
        "clips": clips,
        "frames_per_clip": FIND_FRAMES,
        "foreground_dsc": asdict(Spread.of([tally.foreground_dsc() for tally in tallies])),
        "false_alarm_share_without_instrument": float(np.mean(alarms)) if alarms else None,
        "frames_without_instrument": len(alarms),
        "gate_share": float(np.mean([tally.gate_share() for tally in tallies])),
    }


def find_in_clip(number: int) -> Tally:
    """One clip of one unseen procedure."""
    tracker, tally = Tracker(load_embedded(), load_profile("instrument")), Tally()
    sequence = phantom_sequence(FIRST_SEED + number, 0, FIND_FRAMES, step_s=0.08)
    run_sequence(tracker, ((image, _any(truth)) for image, truth in sequence), tally)
    return tally


def _any(truth: UInt8Array) -> UInt8Array:
    return (truth > 0).astype(np.uint8)


@dataclass(frozen=True)
class TrackScores:
    """Mean J over the instances of one clip: the method, memory alone, the first mask copied."""

    followed: float
    memory_alone: float
    copied: float


def track(workers: Executor, clips: int) -> dict[str, Any]:
    """Instances of the first frame, followed at 25 frames a second."""
    scores = each(workers, track_in_clip, clips, "track")
    return {
        "clips": clips,
        "frames_per_clip": TRACK_FRAMES,
        "fps": FPS,
        "j": asdict(Spread.of([one.followed for one in scores])),
        "j_memory_alone": asdict(Spread.of([one.memory_alone for one in scores])),
        "j_first_mask_copied": asdict(Spread.of([one.copied for one in scores])),
    }


def track_in_clip(number: int) -> TrackScores:
    """The first clip of the procedure that starts with an instrument of 0.4 % of the frame."""
    weights, seed = load_embedded(), FIRST_SEED + 5_000 + number
    pairs, kept = _first_shown(seed)
    profile, truths = instance_profile(weights, pairs[0], kept), [truth for _, truth in pairs[1:]]

    def follow(ablation: Ablation) -> float:
        tracker = Tracker(weights, profile, ablation)
        found = [tracker.step(image).class_map for image, _ in pairs]
        return _mean_j(found[1:], truths, kept)

    return TrackScores(
        followed=follow(Ablation()),
        memory_alone=follow(Ablation(learner=False)),
        copied=_mean_j([pairs[0][1]] * TRACK_FRAMES, truths, kept),
    )


def _first_shown(seed: int) -> tuple[list[Pair], list[int]]:
    for clip in range(100):
        first = next(phantom_sequence(seed, clip, 1, instances=True))[1]
        kept = [int(i) for i in np.unique(first) if i and (first == i).mean() > 0.004]
        if kept:
            return list(phantom_sequence(seed, clip, TRACK_FRAMES + 1, instances=True)), kept
    raise RuntimeError(f"procedure {seed} shows no instrument in a hundred clips")


def instance_profile(weights: LoadedWeights, pair: Pair, instances: list[int]) -> Profile:
    """A profile of one annotated frame with an instance per row."""
    specs = tuple(ClassSpec(i, f"instance {i}", "#3fb950") for i in instances)
    frames = AnnotatedFrames.of([pair], instances, weights.model.config.backbone.image_size)
    profile, _ = fit_frames(weights, specs, frames, FitConfig(follow=True))
    return profile


def _mean_j(found: list[UInt8Array], truths: list[UInt8Array], ids: list[int]) -> float:
    scores = [
        iou(mine == one, truth == one)
        for mine, truth in zip(found, truths, strict=True)
        for one in ids
        if (truth == one).any()
    ]
    return float(np.mean(scores)) if scores else float("nan")


def name(workers: Executor, procedures: int) -> dict[str, Any]:
    """Kinds from SHOTS annotated frames of other clips; each of NAMED on the same sequences."""
    units = each(workers, name_in_procedure, procedures, "name")
    plain = {key: [unit.plain[key] for unit in units] for key in NAMED}
    shifted = {key: [unit.shifted[key] for unit in units] for key in SHIFTED}
    carried = {key: [unit.carried[key] for unit in units] for key in CARRIED}
    return {
        "procedures": procedures,
        "shots": SHOTS,
        "frames_per_clip": NAME_FRAMES,
        "variants": {key: summary(tallies) for key, tallies in plain.items()},
        "shifted": {key: summary(tallies) for key, tallies in shifted.items()},
        "carried": {key: summary(tallies) for key, tallies in carried.items()},
        "update_effect": _difference(plain),
        "update_effect_shifted": _difference(shifted),
        "update_effect_carried": _difference(carried),
        "named_by_colour_alone": asdict(Spread.of([unit.colour for unit in units])),
        "confidence": _reliability(plain["full"]),
        "flicker": changes_a_second(sum((unit.flicker for unit in units), Counter()), FPS),
    }


def _reliability(tallies: list[Tally]) -> dict[str, Any]:
    """Of every mask drawn in any procedure."""
    confidence = [value for tally in tallies for value in tally.confidence]
    reached = [value for tally in tallies for value in tally.reached]
    return asdict(Reliability.of(confidence, reached, LearnerConfig().gamma))


@dataclass(frozen=True)
class NameScores:
    """Tallies of one procedure by variant, without and with a shift of the appearance.

    carried: of the second clip, after the first without a reset: an operation goes on
    colour: share of visible instruments whose colour alone names them
    flicker: of the full method at FPS
    """

    plain: dict[str, Tally]
    shifted: dict[str, Tally]
    carried: dict[str, Tally]
    colour: float
    flicker: Counter[str]


def name_in_procedure(number: int) -> NameScores:
    """One unseen procedure: a profile from some clips, every variant on others."""
    weights, seed = load_embedded(), name_seed(number)
    profile = few_shot_profile(weights, seed, SHOTS)
    plain, shifted = named_clips(seed), named_clips(seed, SHIFT)

    def run(
        key: str, clips: list[list[PhantomFrame]], before: Sequence[PhantomFrame] = ()
    ) -> Tally:
        return run_clips(Tracker(weights, profile, VARIANTS[key]), clips, before)

    colours = ColourNames(annotated_frames(Procedure(seed), SHOTS).pairs)
    by_colour = [one for clip in plain for frame in clip for one in colours.rightly_named(frame)]
    return NameScores(
        {key: run(key, plain) for key in NAMED},
        {key: run(key, shifted) for key in SHIFTED},
        {key: run(key, plain[1:], plain[0]) for key in CARRIED},
        float(np.mean(by_colour)) if by_colour else float("nan"),
        _flicker(Tracker(weights, profile, VARIANTS["full"]), seed),
    )


def name_seed(number: int) -> int:
    """The procedure's seed."""
    return FIRST_SEED + 10_000 + number


def run_clips(tracker: Tracker, clips: list[Clip], before: Sequence[PhantomFrame] = ()) -> Tally:
    """Score every frame of the clips, each from a fresh state.

    before: frames of the same operation that come before each clip and are not scored
    """
    tally = Tally()
    for clip in clips:
        tracker.reset()
        for frame in before:
            tracker.step(frame.image_rgb)
        for frame in clip:
            result = tracker.step(frame.image_rgb)
            score_frame(result, frame.class_mask, tally)
            tally.named += rightly_named(result.class_map, frame)
    return tally


def _flicker(tracker: Tracker, seed: int) -> Counter[str]:
    """Three seconds of each test clip, every frame."""
    total: Counter[str] = Counter()
    for index in TEST_CLIPS:
        tracker.reset()
        clip = Procedure(seed).clip(index, size=SIZE)
        frames = (clip.render(number / FPS) for number in range(FLICKER_FRAMES))
        answers = ((tracker.step(frame.image_rgb).class_map, frame) for frame in frames)
        total += flicker(answers)
    return total


def named_clips(seed: int, shift: Shift | None = None) -> list[Clip]:
    """Two seconds of each test clip of a procedure."""
    clips = [Procedure(seed).clip(index, size=SIZE, shift=shift) for index in TEST_CLIPS]
    return [[clip.render(n * NAME_STEP_S) for n in range(NAME_FRAMES)] for clip in clips]


def few_shot_profile(weights: LoadedWeights, seed: int, shots: int) -> Profile:
    """A profile of `shots` annotated frames from the support clips of a procedure."""
    procedure = Procedure(seed)
    chosen = annotated_frames(procedure, shots)
    visible = {int(i) for _, truth in chosen.pairs for i in np.unique(truth)}
    specs = tuple(s for s in CLASSES if s.class_id in visible)
    size = weights.model.config.backbone.image_size
    ids = [spec.class_id for spec in specs]
    frames = AnnotatedFrames.of(chosen.pairs, ids, size, chosen.clip)
    profile, _ = fit_frames(weights, specs, frames, FitConfig(seed=seed))
    return profile


def annotated_frames(procedure: Procedure, shots: int) -> Shots:
    """Frames as a person would choose them: spread over the clips, each kind seen if it can be."""
    rng = np.random.default_rng([procedure.seed, 99])
    moments = [(clip, float(t)) for clip in SUPPORT_CLIPS for t in rng.uniform(0, 8, 6)]
    clips = {index: procedure.clip(index, size=SIZE) for index in SUPPORT_CLIPS}
    frames = [clips[index].render(t) for index, t in moments]
    order = sorted(range(len(frames)), key=lambda i: (i % 6, i // 6))
    chosen: list[int] = []
    for kind in procedure.kinds:
        area = {i: int((frames[i].class_mask == kind).sum()) for i in order if i not in chosen}
        best = max(area, key=lambda i: area[i])
        if area[best]:
            chosen.append(best)
    chosen += [i for i in order if i not in chosen and frames[i].class_mask.any()]
    return Shots.of(
        ((frames[i].image_rgb, frames[i].class_mask), moments[i][0]) for i in chosen[:shots]
    )


def summary(tallies: list[Tally]) -> dict[str, Any]:
    """Mean and spread over procedures."""
    return {
        "class_dsc": asdict(Spread.of([tally.class_dsc() for tally in tallies])),
        "foreground_dsc": asdict(Spread.of([tally.foreground_dsc() for tally in tallies])),
        "false_alarms": asdict(Spread.of([tally.alarm_share() for tally in tallies])),
        "rightly_named": asdict(Spread.of([tally.named_share() for tally in tallies])),
        "gate_share": asdict(Spread.of([tally.gate_share() for tally in tallies])),
        "teaching_frames": asdict(Spread.of([tally.teaching_share() for tally in tallies])),
        "rolled_back": sum(tally.rolled_back for tally in tallies),
    }


def _difference(tallies: dict[str, list[Tally]]) -> dict[str, Any]:
    pairs = zip(tallies["full"], tallies["no update"], strict=True)
    return asdict(Spread.of([a.class_dsc() - b.class_dsc() for a, b in pairs]))


def phantom_sequence(
    seed: int,
    clip: int,
    frames: int,
    *,
    step_s: float = 1 / FPS,
    shift: Shift | None = None,
    instances: bool = False,
) -> Iterator[Pair]:
    """(image, class or instance map) of consecutive moments."""
    scene = Procedure(seed).clip(clip, size=SIZE, shift=shift)
    for index in range(frames):
        frame = scene.render(index * step_s)
        yield frame.image_rgb, frame.instance_mask if instances else frame.class_mask

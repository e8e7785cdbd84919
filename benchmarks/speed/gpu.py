"""`trocar bench gpu`: what the official backbones take on a GPU, beside sam2's own video predictor.

BASE_PLUS with random weights (speed does not depend on them), four classes, updates on, at 1024 and
512 px, with every engine there is; the predictor eagerly and, at the first size, compiled (which
takes many minutes the first time), in rounds in which all run in turn. Floors stage by stage, and
whether NANO sees and learns on the GPU what it does in torch. One JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.result_file import result, write_result
from benchmarks.speed.gpu_floor import Ceilings, ceilings, floors
from benchmarks.speed.parity import parity
from benchmarks.speed.peers import WARM_UP as PEER_WARM_UP
from benchmarks.speed.peers import Predictor
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import StepTimer, distribution, ratio
from models.backbone.image_input import resize_image
from models.backbone.memory_bank import BankShape
from models.config import MemoryConfig
from models.errors import EngineError
from models.method.checkpoint import LoadedWeights
from models.types import UInt8Array

WARM_UP = 20
FILLING = 260  # frames after which every class has learnt six times: memories are full
STAGE_FRAMES = 50  # of a run of their own, which waits for the device after each stage
PICTURE = (1080, 1920)
PICTURES = 40


@dataclass(frozen=True)
class GpuConfig:
    """sizes of the image, pixels; frames measured after warm-up; rounds of ours and the predictor

    peer_frames: of one round, the first few not counted
    tuned: the compiled predictor's kernels are chosen by trying them, as the package does
    """

    backbone: str = "base_plus"
    sizes: tuple[int, ...] = (1024, 512)
    engines: tuple[str, ...] = ("cuda_graph", "tensorrt")
    frames: int = 300
    rounds: int = 3
    peer_frames: int = 40
    tuned: bool = True
    note: str = ""


def run_gpu(config: GpuConfig, out: Path) -> int:
    """Measure, print a table, write the JSON. Raises EngineError without a CUDA device."""
    if not torch.cuda.is_available():
        raise EngineError("bench gpu: expected a CUDA device, found none")
    content = measure_gpu(config, out)
    print(gpu_table(content))
    return 0


def measure_gpu(config: GpuConfig, out: Path | None = None) -> dict[str, Any]:
    """The result file's content; written after each part, for the parts take minutes."""
    plain, reached = Subject(backbone=config.backbone), ceilings()
    measured: dict[str, Any] = {"ceilings": asdict(reached), "parity": {}, "sizes": {}}

    def written() -> dict[str, Any]:
        content = result("gpu", asdict(config), config.note, **measured)
        write_result(content, out)
        return content

    for number, size in enumerate(config.sizes):
        subject = replace(plain, image_size=size)
        measured["sizes"][str(size)] = _measure_size(subject, config, reached, first=number == 0)
        written()
    nano = Subject().weights()
    for name in config.engines:
        measured["parity"][name] = _unless_missing(functools.partial(parity, nano, name))
    return written()


def _unless_missing(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return measure()
    except EngineError as error:
        return {"missing": str(error)}


def _measure_size(
    subject: Subject, config: GpuConfig, reached: Ceilings, *, first: bool
) -> dict[str, Any]:
    weights, frames = subject.weights(), pictures(PICTURE, PICTURES)
    engines: dict[str, Any] = {}
    trackers: dict[str, StepTimer] = {}
    for name in config.engines:
        try:
            run = StepTimer(subject.tracker(name, weights))
        except EngineError as error:
            engines[name] = {"missing": str(error)}
            continue
        engines[name] = _engine_numbers(run, subject, weights, frames, config)
        engines[name]["stages"] |= _with_floors(subject, weights, reached, engines[name])
        trackers[name] = run
    side = subject.config.image_size
    small = [resize_image(image, side) for image in frames[: config.peer_frames]]
    return {"engines": engines} | _peers(subject, weights, config, trackers, small, first)


def _engine_numbers(
    run: StepTimer,
    subject: Subject,
    weights: LoadedWeights,
    frames: list[UInt8Array],
    config: GpuConfig,
) -> dict[str, Any]:
    """Steps of 1080p frames while memories fill, when they are full, and stage by stage."""
    engine = run.tracker.engine
    filling = []
    for number in tqdm(range(FILLING + config.frames), desc=f"{engine.config.image_size} px"):
        taken = run.step(frames[number % len(frames)], counts=number >= FILLING)
        if WARM_UP <= number < FILLING:
            filling.append(taken)
    numbers = run.numbers() | {"filling_step_ms": distribution(filling)}
    apart = StepTimer(subject.tracker(engine, weights, timed=True))
    for number in range(WARM_UP + STAGE_FRAMES):
        apart.step(frames[number % len(frames)], counts=number >= WARM_UP)
    return numbers | {"stages": apart.numbers()["stages"]}


def _with_floors(
    subject: Subject, weights: LoadedWeights, reached: Ceilings, numbers: dict[str, Any]
) -> dict[str, Any]:
    shape = BankShape.of(subject.classes, MemoryConfig(), subject.config)
    stages = numbers["stages"]
    each = floors(weights, shape, reached, stages)
    return {name: stages[name] | {"floor": under} for name, under in each.items()}


def _peers(
    subject: Subject,
    weights: LoadedWeights,
    config: GpuConfig,
    trackers: dict[str, StepTimer],
    small: list[UInt8Array],
    first: bool,
) -> dict[str, Any]:
    """Rounds in which everybody runs in turn, on the same pictures of the network's own size."""
    peers: dict[str, Predictor] = {}
    missing: dict[str, str] = {}
    modes = {"eager": None, "compiled": "max-autotune" if config.tuned else "reduce-overhead"}
    for label in modes if first else ("eager",):
        try:
            peers[label] = Predictor(weights, subject.classes, device="cuda", compiled=modes[label])
            peers[label].frame_ms(small)  # compiles, chooses kernels
        except Exception as error:
            peers.pop(label, None)
            missing[label] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    taken: dict[str, list[float]] = {name: [] for name in (*trackers, *peers)}
    for _ in tqdm(range(config.rounds), desc=f"peers, {subject.config.image_size} px"):
        for name, run in trackers.items():
            steps = [run.step(image, counts=False) for image in small]
            taken[name].append(float(np.median(steps[PEER_WARM_UP:])))
        for label, predictor in peers.items():
            taken[label].append(predictor.frame_ms(small))
    del peers
    torch.cuda.empty_cache()
    return {
        "frame_ms": {name: [round(value, 3) for value in each] for name, each in taken.items()},
        "missing_peers": missing,
        "times_the_predictor": {
            name: {
                label: ratio(taken[name], each)
                for label, each in taken.items()
                if label not in trackers
            }
            for name in trackers
        },
    }


def gpu_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'ms':<40}{'p50':>8}{'p95':>8}{'p99':>8}{'of the floor':>14}"]
    for size, one in content["sizes"].items():
        for name, numbers in one["engines"].items():
            if "missing" in numbers:
                lines.append(f"{size} px, {name}: {numbers['missing']}")
                continue
            rows = {
                f"{size} px, {name}: step": numbers["step_ms"],
                " while memories fill": numbers["filling_step_ms"],
                " learn": numbers["learn_ms"],
                **{f"  {stage}": taken for stage, taken in numbers["stages"].items()},
            }
            for label, row in rows.items():
                values = "".join(f"{row[key]:8.2f}" for key in ("p50", "p95", "p99"))
                floor = f"{row['floor']['fraction_reached']:14.0%}" if "floor" in row else ""
                lines.append(f"{label:<40}{values}{floor}")
        for label, each in one["frame_ms"].items():
            lines.append(f"{f'{size} px, in turn: {label}':<40}{np.median(each):8.2f}")
        lines += [f"{size} px, {label}: {why}" for label, why in one["missing_peers"].items()]
        for name, times in one["times_the_predictor"].items():
            said = ", ".join(f"{label} {found['median']:.2f}" for label, found in times.items())
            lines.append(f"{size} px: times as fast as the predictor, {name}: {said}")
    for name, ways in content["parity"].items():
        lines += [f"parity, {name}, {way}: {found}" for way, found in ways.items()]
    return "\n".join(lines)

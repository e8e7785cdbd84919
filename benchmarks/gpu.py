"""`trocar bench gpu`: what the official backbones take on a GPU, beside sam2's own video predictor.

BASE_PLUS with random weights (speed does not depend on them), four classes, updates on, at 1024 and
512 px, with every engine there is; the predictor eagerly and, where torch can, compiled. One JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.peers import Predictor
from benchmarks.result_file import result, write_result
from benchmarks.subject import Subject, pictures
from benchmarks.timing import StepTimer, ratio
from models.errors import EngineError
from models.preprocess import resize_image

WARM_UP = 20
STAGE_FRAMES = 50  # of a run of their own, which waits for the device after each stage


@dataclass(frozen=True)
class GpuConfig:
    """sizes of the image, pixels; frames measured after warm-up; rounds of the predictor"""

    backbone: str = "base_plus"
    sizes: tuple[int, ...] = (1024, 512)
    engines: tuple[str, ...] = ("cuda_graph", "tensorrt")
    frames: int = 300
    rounds: int = 3
    note: str = ""


def run_gpu(config: GpuConfig, out: Path) -> int:
    """Measure, print a table, write the JSON. Raises EngineError without a CUDA device."""
    if not torch.cuda.is_available():
        raise EngineError("bench gpu: expected a CUDA device, found none")
    content = measure_gpu(config)
    write_result(content, out)
    print(gpu_table(content))
    return 0


def measure_gpu(config: GpuConfig) -> dict[str, Any]:
    """The result file's content."""
    plain = Subject(backbone=config.backbone)
    measured = {
        str(size): _measure_size(replace(plain, image_size=size), config) for size in config.sizes
    }
    return result("gpu", asdict(config), config.note, sizes=measured)


def _measure_size(subject: Subject, config: GpuConfig) -> dict[str, Any]:
    weights, frames = subject.weights(), pictures((1080, 1920))
    engines: dict[str, Any] = {}
    for name in config.engines:
        try:
            run = StepTimer(subject.tracker(name, weights), stages=False)
        except EngineError as error:
            engines[name] = {"missing": str(error)}
            continue
        for number in tqdm(range(WARM_UP + config.frames), desc=f"{name}, {subject.image_size} px"):
            run.step(frames[number % len(frames)], counts=number >= WARM_UP)
        apart = StepTimer(run.tracker)
        for image in frames[:STAGE_FRAMES]:
            apart.step(image)
        engines[name] = run.numbers() | {"stages": apart.numbers()["stages"]}
        del run, apart
        torch.cuda.empty_cache()
    side = subject.config.image_size
    small = [resize_image(image, side) for image in frames[:40]]
    peers = {}
    for label, compiled in (("eager", False), ("compiled", True)):
        predictor = Predictor(weights, subject.classes, device="cuda", compiled=compiled)
        taken = [predictor.frame_ms(small) for _ in range(config.rounds + 1)][1:]
        peers[label] = [round(value, 3) for value in taken]
        del predictor
    step = {name: one["step_ms"]["p50"] for name, one in engines.items() if "step_ms" in one}
    return {
        "engines": engines,
        "predictor_ms": peers,
        "times_the_predictor": {
            name: {label: ratio([ours] * len(each), each) for label, each in peers.items()}
            for name, ours in step.items()
        },
    }


def gpu_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'ms':<34}{'p50':>8}{'p95':>8}{'p99':>8}"]
    for size, one in content["sizes"].items():
        for name, numbers in one["engines"].items():
            if "missing" in numbers:
                lines.append(f"{size} px, {name}: {numbers['missing']}")
                continue
            step = numbers["step_ms"]
            values = "".join(f"{step[key]:8.2f}" for key in ("p50", "p95", "p99"))
            lines.append(f"{f'{size} px, {name}: step':<34}{values}")
        for label, each in one["predictor_ms"].items():
            lines.append(f"{f'{size} px, sam2 predictor, {label}':<34}{np.median(each):8.2f}")
    return "\n".join(lines)

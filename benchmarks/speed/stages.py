"""`trocar bench stages`: what a step takes, stage by stage, engine beside engine.

Engines take turns of some frames, so that what else the machine does falls on all of them; ratios
between engines are per frame. Not of one frame: torch's threads go on spinning for a while, and
would slow whatever runs next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.result_file import result, write_result
from benchmarks.speed.floor import floor, matrix_rates
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import StepTimer, ratio

WARM_UP = 20
BLOCK = 20  # frames of one engine before the next has its turn


@dataclass(frozen=True)
class StagesConfig:
    """frames: measured, after warm-up; size: of the picture, (height, width)"""

    subject: Subject
    engines: tuple[str, ...] = ("torch", "onnx")
    frames: int = 300
    size: tuple[int, int] = (480, 640)
    note: str = ""
    warm_up: int = WARM_UP


def run_stages(config: StagesConfig, out: Path) -> int:
    """Measure, print one table, write the JSON."""
    content = measure_stages(config)
    write_result(content, out)
    print(stages_table(content))
    return 0


def measure_stages(config: StagesConfig) -> dict[str, Any]:
    """The result file's content."""
    weights = config.subject.weights()
    runs = {
        name: StepTimer(config.subject.tracker(name, weights, timed=True))
        for name in config.engines
    }
    frames = pictures(config.size)
    bar = tqdm(total=config.warm_up + config.frames, unit="frame", desc="stages")
    for first in range(0, bar.total, BLOCK):
        block = range(first, min(first + BLOCK, bar.total))
        for run in runs.values():
            for number in block:
                run.step(frames[number % len(frames)], counts=number >= config.warm_up)
        bar.update(len(block))
    bar.close()
    content = result(
        "stages",
        config.subject.settings() | {"picture": list(config.size), "frames": config.frames},
        config.note,
        engines={name: run.numbers() for name, run in runs.items()},
    )
    half = {name: half_precision(run.tracker.engine) for name, run in runs.items()}
    rates = matrix_rates(half=any(half.values()))
    for name, run in runs.items():
        under = floor(config.subject, weights, run.stages_ms, half[name], rates)
        reached = under["step_floor_ms"] / content["engines"][name]["step_ms"]["p50"]
        content["engines"][name]["floor"] = under | {"fraction_reached": round(reached, 4)}
    if {"torch", "onnx"} <= set(runs):
        content["torch_over_onnx"] = ratio(runs["onnx"].step_ms, runs["torch"].step_ms)
    return content


def half_precision(engine: object) -> tuple[str, ...]:
    """The stages that an engine runs in bf16."""
    from models.engines.openvino_engine import HALF

    own = getattr(engine, "_engine", engine)
    return HALF if getattr(own, "precision", "f32") == "bf16" else ()


def stages_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'ms':<30}{'p50':>8}{'p90':>8}{'p95':>8}{'p99':>8}{'max':>8}{'share':>8}"]
    for name, numbers in content["engines"].items():
        rows = {
            f"{name}: step": numbers["step_ms"],
            " look (masks are out)": numbers["look_ms"],
            " learn": numbers["learn_ms"],
            **{f"  {stage}": taken for stage, taken in numbers["stages"].items()},
        }
        for label, row in rows.items():
            values = "".join(f"{row[key]:8.1f}" for key in ("p50", "p90", "p95", "p99", "max"))
            share = f"{row['share']:8.0%}" if "share" in row else ""
            lines.append(f"{label:<30}{values}{share}")
        under = numbers["floor"]
        lines.append(
            f"  floor {under['step_floor_ms']:.1f} ms (arithmetic at the rate of a matrix product, "
            f"{under['matrix_product_gflops']['f32']:.0f} GFLOP/s in f32): "
            f"{under['fraction_reached']:.0%} reached; "
            f"{numbers['rows_taught_per_step']:.1f} rows learnt in a step"
        )
    if "torch_over_onnx" in content:
        times = content["torch_over_onnx"]
        lines.append(f"torch / onnx: {times['median']} ({times['p25']} to {times['p75']})")
    return "\n".join(lines)

"""The floor under a step: its arithmetic at the rate that a large matrix product reaches here."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.subject import Subject
from models.backbone.memory_bank import BankShape
from models.config import LearnerConfig, MemoryConfig
from models.engines.graphs import HEAD, SEE, any_rows, graphs
from models.method.checkpoint import LoadedWeights

SIDE = 1536  # of the matrices, large enough to be bound by arithmetic


def matrix_rate(kind: torch.dtype, repeats: int = 5) -> float:
    """Operations a second of a product of two square matrices, 2 n^3 each; the best of a few.

    With torch's threads as they are.
    """
    one, other = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(one, other)
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best


def step_operations(
    subject: Subject, weights: LoadedWeights, stages: Collection[str]
) -> dict[str, float]:
    """Floating point operations of a step's stages; those of the graphs that it ran are counted."""
    shape = BankShape.of(subject.classes, MemoryConfig(), subject.config)
    parts = {"encode_image": SEE, HEAD: SEE} if SEE in stages else {}
    ran = {*stages, HEAD} if subject.instances else {*stages}  # torch has no stage for the head
    counted: dict[str, float] = defaultdict(float)
    for name, graph in graphs(weights.model, shape).items():
        stage = parts.get(name, name)
        if stage not in ran:
            continue
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            graph.module.eval()(*graph.inputs.values())
        counted[stage] += float(counter.get_total_flops())
    for name in filter(any_rows, counted):
        counted[name] *= subject.taught / subject.classes
    return counted if subject.instances else counted | _learner_operations(subject)


def _learner_operations(subject: Subject) -> dict[str, float]:
    """Products of the mapping network: applied, and taught where updates are on."""
    config, learner, rows = subject.config, LearnerConfig(), subject.classes
    width, tokens = config.model_width, config.grid**2
    embedding = (1 + len(learner.context)) * width + 13
    applied = 2.0 * rows * width * embedding * tokens + 4.0 * rows * width * width * tokens
    statistics = 2.0 * tokens * embedding * (embedding + width)
    products = learner.online_iterations + 3  # of T with a Gram matrix, two of them for the guard
    lesson = statistics + products * 2.0 * width * embedding**2
    return {"mapping and fusion": applied, "statistics and descent": subject.taught * lesson}


def matrix_rates(*, half: bool) -> dict[str, float]:
    """Operations a second, measured once for all engines of a run.

    half: in bf16, too; emulated it would take a minute
    """
    rates = {"f32": matrix_rate(torch.float32)}
    return rates | {"bf16": matrix_rate(torch.bfloat16)} if half else rates


def floor(
    subject: Subject,
    weights: LoadedWeights,
    stages: Collection[str],
    half: tuple[str, ...],
    rates: dict[str, float],
) -> dict[str, Any]:
    """The floor stage by stage.

    stages: that the step was seen to run; half: how those begin that run in bf16; rates: see below
    """
    rates = {kind: rate for kind, rate in rates.items() if kind == "f32" or half}
    operations = step_operations(subject, weights, stages)
    ms = {
        name: 1e3 * count / rates["bf16" if name.startswith(half) else "f32"]
        for name, count in operations.items()
    }
    return {
        "giga_operations": {name: round(count / 1e9, 4) for name, count in operations.items()},
        "matrix_product_gflops": {kind: round(rate / 1e9, 1) for kind, rate in rates.items()},
        "bf16": list(half),
        "floor_ms": {name: round(value, 3) for name, value in ms.items()},
        "step_floor_ms": round(sum(ms.values()), 3),
    }

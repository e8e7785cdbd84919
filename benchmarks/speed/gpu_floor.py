"""The floors under a GPU's stages: arithmetic and memory, at the rates this device reaches.

Operations over the rate of a large product in bf16; weights, inputs and outputs, once each and in
bf16, over the bandwidth of a large copy. The larger time is the floor: nothing runs faster that
does this arithmetic or moves these bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from models.backbone.memory_bank import BankShape
from models.engines.graphs import any_rows, graphs_without_keys
from models.method.checkpoint import LoadedWeights

SIDE = 8192  # of the matrices
COPIED = 2**28  # numbers of four bytes
REPEATS = 10
HALF_BYTES = 2


@dataclass(frozen=True)
class Ceilings:
    """operations a second of a product in bf16, bytes a second of a copy, read and written"""

    operations: float
    bytes: float


def ceilings() -> Ceilings:
    """Of the device at hand, medians."""
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = _seconds(lambda: left @ right)
    source = torch.randn(COPIED, device="cuda")
    target = torch.empty_like(source)
    copied = _seconds(lambda: target.copy_(source))
    return Ceilings(2 * SIDE**3 / product, 2 * source.nbytes / copied)


def _seconds(run: Callable[[], Tensor]) -> float:
    taken = []
    for _ in range(REPEATS + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return float(np.median(taken[3:]))


def floors(
    weights: LoadedWeights, shape: BankShape, reached: Ceilings, stages: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Of the network's functions among the stages, for all rows, or for the one that learns.

    stages: measured distributions, milliseconds
    """
    model = copy.deepcopy(weights.model)
    found = {}
    for name, graph in graphs_without_keys(model, shape).items():
        if name not in stages:
            continue
        rows = 1 if any_rows(name) else shape.rows
        module = graph.module.to("meta")
        inputs = [
            (value[:rows] if len(value) == shape.rows else value).to("meta")
            for value in graph.inputs.values()
        ]
        with torch.inference_mode(), FlopCounterMode(display=False) as counter, _Touched() as used:
            outputs = module(*inputs)
        moved = used.numbers + sum(
            value.numel()
            for value in (*inputs, *(outputs if isinstance(outputs, tuple) else (outputs,)))
        )
        operations, sent = float(counter.get_total_flops()), float(moved * HALF_BYTES)
        arithmetic, memory = operations / reached.operations, sent / reached.bytes
        least = max(arithmetic, memory) * 1e3
        found[name] = {
            "giga_operations": round(operations / 1e9, 3),
            "megabytes": round(sent / 1e6, 3),
            "arithmetic_floor_ms": round(arithmetic * 1e3, 4),
            "bandwidth_floor_ms": round(memory * 1e3, 4),
            "fraction_reached": round(least / stages[name]["p50"], 4),
        }
    return found


class _Touched(TorchDispatchMode):
    """Counts the numbers of the weights that are read, each weight once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._read: dict[int, int] = {}

    @property
    def numbers(self) -> int:
        """Of weights read so far."""
        return sum(self._read.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for one in args:
            if isinstance(one, torch.nn.Parameter):
                self._read[id(one)] = one.numel()
        return func(*args, **(kwargs or {}))

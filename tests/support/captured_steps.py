"""Engines for GPUs on a processor: their graphs as the modules they are, and as if captured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import models.engines.gpu.cuda_graph as cuda_graph
from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import BankShape
from models.engines.gpu.cuda_graph import Captured
from models.engines.gpu.functions import GpuFunctions
from models.engines.graphs import FULL, graph_of_full, graphs
from models.method.checkpoint import LoadedWeights
from models.phantom import DEMO_SEED, Procedure
from models.tensor_tree import tensors_in
from models.types import UInt8Array

CPU = torch.device("cpu")


def demo_frames(clip: int, count: int, size: tuple[int, int] = (240, 320)) -> list[UInt8Array]:
    """Frames of the demo's procedure, ten a second."""
    scene = Procedure(DEMO_SEED).clip(clip, size=size)
    return [scene.render(number / 10).image_rgb for number in range(count)]


class Unwrapped(GpuFunctions):
    """The graphs that the engines for GPUs capture or build, run as the torch modules they are."""

    def __init__(self, weights: LoadedWeights, shape: BankShape) -> None:
        super().__init__(weights.model.backbone, shape.rows, CPU)
        self._graphs = graphs(weights.model, shape)

    def _run(self, name: str, rows: int, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self._graphs[name].module(*inputs)
        return found if isinstance(found, tuple) else (found,)


class AgainAndAgain:
    """A CUDA graph's stand-in: replaying runs the function anew, into the buffers of the first."""

    def __init__(self, function: Callable[[], Any], found: Any) -> None:
        self._function, self._found = function, found

    def replay(self) -> None:
        fresh = tensors_in(self._function())
        for own, new in zip(tensors_in(self._found), fresh, strict=True):
            own.copy_(new)


def stand_in(function: Callable[[], Any]) -> tuple[AgainAndAgain, Any]:
    def made() -> Any:
        cuda_graph._MAKING.one = True
        try:
            return function()
        finally:
            cuda_graph._MAKING.one = False

    found = made()
    return AgainAndAgain(made, found), found


class CapturedSteps(Unwrapped):
    """CudaGraphEngine's way with graphs, in float32; with `stand_in` in the place of capture."""

    def __init__(self, weights: LoadedWeights, shape: BankShape) -> None:
        super().__init__(weights, shape)
        self._graphs[FULL] = graph_of_full(weights.model.backbone, self._graphs["attend_memory"])
        self.captured: dict[tuple[str, int], Captured[Any]] = {}
        self.steps = 0

    def attend_memory(self, features: torch.Tensor, bank: BankTensors) -> torch.Tensor:
        """As CudaGraphEngine does."""
        rows = (bank.memory, bank.pointer, bank.time_code, bank.distance, bank.valid)
        name = FULL if bank.full else "attend_memory"
        return self._run(name, len(bank.memory), features[:1], *rows)[0]

    def compiled(self, function: Any, *example: torch.Tensor) -> Any:
        """Captured."""
        return Captured(function, *example, device=CPU)

    def recorded(self, step: Any, *example: Any) -> Any:
        """Captured."""
        self.steps += 1
        return Captured(step, *example, device=CPU)

    def _run(self, name: str, rows: int, *inputs: torch.Tensor) -> Any:
        def function(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return Unwrapped._run(self, name, rows, *given)

        if (name, rows) not in self.captured:
            self.captured[name, rows] = Captured(function, *inputs, device=CPU)
        return self.captured[name, rows](*inputs)

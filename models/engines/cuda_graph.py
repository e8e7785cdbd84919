"""The network's functions on a GPU: bf16, each captured once as a CUDA graph and replayed.

At these sizes eager torch spends most of a step launching kernels; a replayed graph launches once.
Shapes are static and addresses fixed: inputs are copied into the graph's own buffers. Linear and
convolution weights are bf16, normalisation and softmax stay in float32 (autocast), as SAM2 runs.
The stream's state lives on the GPU beside it (Engine.device); mapping network and learner run there
eagerly between the graphs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.checkpoint import LoadedWeights
from models.engines.gpu_functions import GpuFunctions
from models.engines.graphs import PER_ROW, WITHOUT_ROWS, Graph, any_rows, graphs_anew
from models.errors import EngineError
from models.memory_bank import BankShape

WARM_UP = 3  # runs on a side stream before capture, so that libraries have chosen their kernels
_HALF_WEIGHTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class CudaGraphEngine(GpuFunctions):
    """Captured graphs for C rows, and for each smaller number of rows of what a lesson needs."""

    def __init__(self, weights: LoadedWeights, shape: BankShape, *, rows: bool = True) -> None:
        """rows: see open_engine. Raises EngineError: no CUDA device, or one without bf16."""
        if not torch.cuda.is_available():
            raise EngineError("engine cuda_graph: expected a CUDA device, found none")
        if not torch.cuda.is_bf16_supported():
            name = torch.cuda.get_device_name()
            raise EngineError(f"engine cuda_graph: expected a device with bf16, {name} has none")
        super().__init__(shape.backbone, shape.rows, torch.device("cuda"))
        model = copy.deepcopy(weights.model).to(self.device)
        half_weights(model)
        self._captured: dict[tuple[str, int], _Captured] = {}
        for name, graph in graphs_anew(model, shape).items():
            if not rows and name not in WITHOUT_ROWS:
                continue
            counts = range(1, shape.rows + 1) if any_rows(name) else (shape.rows,)
            for count in counts:
                self._captured[name, count] = _Captured(graph, shape.rows, count, self.device)

    def _run(self, name: str, rows: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self._captured[name, rows](*inputs)


def half_weights(module: nn.Module) -> None:
    """Weights of products in bf16, in place; the rest stays as it is."""
    for part in module.modules():
        if isinstance(part, _HALF_WEIGHTS):
            part.to(torch.bfloat16)


class _Captured:
    """One function as a CUDA graph with buffers of its own."""

    def __init__(self, graph: Graph, rows: int, count: int, device: torch.device) -> None:
        """count: rows to capture for, of the graph's `rows`"""
        self._inputs = tuple(
            _cut(name, value, rows, count).to(device, copy=True)
            for name, value in graph.inputs.items()
        )
        module = graph.module.eval().to(device)

        def function() -> tuple[Tensor, ...]:
            # Without a cache: a cached cast made in one capture would be freed memory in the next.
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                found = module(*self._inputs)
            return found if isinstance(found, tuple) else (found,)

        self._graph, self._outputs = _capture(function)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs are copies in float32: the next replay overwrites the graph's own."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return tuple(
            one.float() if one.dtype != torch.float32 else one.clone() for one in self._outputs
        )


@torch.inference_mode()
def _capture(
    function: Callable[[], tuple[Tensor, ...]],
) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        outputs = function()
    return captured, outputs


def _cut(name: str, value: Tensor, rows: int, count: int) -> Tensor:
    """An example input for fewer rows."""
    return value[:count] if name in PER_ROW and len(value) == rows else value

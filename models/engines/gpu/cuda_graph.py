"""The network's functions on a GPU: bf16, compiled, captured once as CUDA graphs and replayed.

At these sizes eager torch spends most of a step launching kernels; a replayed graph launches once.
A step is two of them: a picture's features, and everything from there to the masks (`recorded`),
with no wait in between. Shapes are static and addresses fixed: inputs are copied into the graph's
own buffers. Products are in bf16, normalisation and softmax in float32 (autocast), as SAM2 runs;
the embedded backbone, which is too small to gain by that, is in float32 throughout. torch.compile
fuses what is between the products, in the functions whose time that halves. The stream's state
lives on the GPU beside it (Engine.device).
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.backbone.gpu_attention import why_no_kernels
from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import BankShape
from models.engines.gpu.functions import GpuFunctions
from models.engines.graphs import (
    FULL,
    HEAD,
    PER_ROW,
    WITHOUT_ROWS,
    Graph,
    any_rows,
    graph_of_full,
    graphs_without_keys,
)
from models.engines.interface import Found, Function, Step
from models.errors import EngineError
from models.method.checkpoint import LoadedWeights
from models.tensor_tree import mapped, tensors_in

WARM_UP = 3  # runs on a side stream before capture, so that libraries have chosen their kernels
VARIANTS = 256  # compiled in one process: graphs of all its engines
COMPILED = ("encode_image", "attend_memory", FULL, "decode_masks", HEAD)
FINE = ("nano",)  # backbones too small to gain by bf16, which their masks feel (docs/engines.md)
_MAKING = threading.local()  # .one: is a Captured being made in this thread?
_ONE_AT_A_TIME = threading.RLock()  # is captured, as some of what it runs sets torch's switches
_HALF_WEIGHTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class CudaGraphEngine(GpuFunctions):
    """Captured graphs for C rows, and for each smaller number of rows of what a lesson needs."""

    def __init__(self, weights: LoadedWeights, shape: BankShape, *, rows: bool = True) -> None:
        """rows: see open_engine.

        Raises EngineError: no CUDA device, one without bf16, no Triton, no C compiler for it.
        Compiling takes a minute or two the first time; torch keeps what it made.
        """
        if not torch.cuda.is_available():
            raise EngineError("engine cuda_graph: expected a CUDA device, found none")
        if not torch.cuda.is_bf16_supported():
            name = torch.cuda.get_device_name()
            raise EngineError(f"engine cuda_graph: expected a device with bf16, {name} has none")
        missing = why_no_kernels()
        if missing is not None:
            raise EngineError(f"engine cuda_graph: {missing}")
        _let_many_compile()
        model = copy.deepcopy(weights.model).to("cuda")
        super().__init__(model.backbone, shape.rows, torch.device("cuda"))
        self._fine = shape.backbone.name in FINE
        if not self._fine:
            half_weights(model)
        found = graphs_without_keys(model, shape)
        found[FULL] = graph_of_full(model.backbone, found["attend_memory"])
        self._captured: dict[tuple[str, int], Captured[tuple[Tensor, ...]]] = {}
        wanted = [
            (name, count)
            for name in found
            if rows or name in WITHOUT_ROWS
            for count in (range(1, shape.rows + 1) if any_rows(name) else (shape.rows,))
        ]
        for name, count in tqdm(wanted, desc="compiling", unit="graph", leave=False, disable=None):
            graph = found[name]
            example = (_cut(*each, shape.rows, count) for each in graph.inputs.items())
            if self._fine:
                function = _with_products(graph.module.eval().to(self.device), tf32=False)
            else:
                function = _function(graph, self.device, compiled=name in COMPILED)
            self._captured[name, count] = Captured(function, *example, device=self.device)

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """See Backbone.attend_memory; a bank of K + R entries for all rows."""
        rows = (bank.memory, bank.pointer, bank.time_code, bank.distance, bank.valid)
        name = FULL if bank.full else "attend_memory"
        return self._run(name, len(bank.memory), features[:1], *rows)[0]

    def compiled(self, function: nn.Module, *example: Tensor) -> Function:
        """See Engine; captured, float32 in and out. Compiled and with products in TF32, but for a
        backbone in FINE.
        """
        run: Callable[..., Any] = function.eval().to(self.device)
        run = run if self._fine else torch.compile(run, dynamic=False)
        run = _with_products(run, tf32=not self._fine)
        return Captured(run, *example, device=self.device)

    def recorded(self, step: Step[Found], *example: Any) -> Step[Found]:
        """See Engine; one graph."""
        return Captured(step, *example, device=self.device)

    def _run(self, name: str, rows: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self._captured[name, rows](*inputs)


def half_weights(module: nn.Module) -> None:
    """Weights of products in bf16, in place; the rest stays as it is."""
    for part in module.modules():
        if isinstance(part, _HALF_WEIGHTS):
            part.to(torch.bfloat16)


class Captured(Generic[Found]):
    """A function as a CUDA graph with buffers of its own; may be called from any thread.

    Called while another is made it is the function itself, and becomes part of that.
    """

    @torch.inference_mode()
    def __init__(self, function: Step[Found], *example: Any, device: torch.device) -> None:
        """example: what it takes, tensors or dataclasses of tensors, in the shapes to come"""
        self._function = function
        self._given = mapped(example, lambda one: one.to(device, copy=True))
        self._inputs = tensors_in(self._given)
        self._alone = threading.Lock()
        self._graph, self._found = _capture(lambda: function(*self._given))

    @torch.inference_mode()
    def __call__(self, *given: Any) -> Found:
        """Copies, tensors of floats in float32: the next replay overwrites the graph's own."""
        if getattr(_MAKING, "one", False):  # in the layout that it was compiled for
            found = self._function(*mapped(given, lambda one: one.contiguous()))
            return mapped(found, lambda one: one.float() if one.dtype == torch.bfloat16 else one)
        with self._alone:
            for own, new in zip(self._inputs, tensors_in(given), strict=True):
                own.copy_(new, non_blocking=True)
            self._graph.replay()
            return mapped(self._found, _kept)


def _kept(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.bfloat16 else value.clone()


def _function(
    graph: Graph, device: torch.device, *, compiled: bool
) -> Callable[..., tuple[Tensor, ...]]:
    """Of tensors on the device, products in bf16."""
    module = graph.module.eval().to(device)

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        # Without a cache: a cached cast made in one capture would be freed memory in the next.
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            found = module(*inputs)
        return found if isinstance(found, tuple) else (found,)

    return torch.compile(function, dynamic=False) if compiled else function


def _with_products(run: Callable[..., Any], *, tf32: bool) -> Callable[..., tuple[Tensor, ...]]:
    """Products of float32 in TF32 or in float32 itself."""

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        with _tf32_is(tf32):
            found = run(*inputs)
        return found if isinstance(found, tuple) else (found,)

    return function


def _capture(function: Callable[[], Found]) -> tuple[torch.cuda.CUDAGraph, Found]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    _MAKING.one = True
    try:
        with _ONE_AT_A_TIME:
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    function()
            torch.cuda.current_stream().wait_stream(side)
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured, capture_error_mode="thread_local"):
                found = function()
    finally:
        _MAKING.one = False
    return captured, found


def _let_many_compile() -> None:
    """Of one function torch compiles so many variants and runs others as they are, saying little.

    All our graphs are variants of one; with engines of two sizes the last were not compiled.
    """
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, VARIANTS)


@contextlib.contextmanager
def _tf32_is(allowed: bool) -> Iterator[None]:
    """The switches are the process's: what other threads run meanwhile feels them."""
    kinds: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in kinds]
    for one in kinds:
        one.allow_tf32 = allowed
    try:
        yield
    finally:
        for one, own in zip(kinds, before, strict=True):
            one.allow_tf32 = own


def _cut(name: str, value: Tensor, rows: int, count: int) -> Tensor:
    """An example input for fewer rows."""
    return value[:count] if name in PER_ROW and len(value) == rows else value

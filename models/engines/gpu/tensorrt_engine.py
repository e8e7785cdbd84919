"""The network's functions by TensorRT 10 or 11, built from the ONNX files.

Networks are strongly typed: precision is what the graph says, bf16 products between float32
normalisations. Engines are kept by weights, graph, TensorRT version and compute capability; mapping
network and learner stay outside, so that an online update never rebuilds or refits one. Runs go by
address on torch's stream.
"""

from __future__ import annotations

import copy
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.backbone.memory_bank import BankShape
from models.engines.gpu.functions import GpuFunctions
from models.engines.graphs import PER_ROW, graphs_without_keys
from models.engines.onnx_files import export_graph
from models.errors import EngineError
from models.method.cache import cache_root, forget_unused, mark_used
from models.method.checkpoint import LoadedWeights

PLANS = "trt-"  # what the names of folders with plans begin with


def tensorrt_module() -> Any:
    """The package. Raises EngineError: it, or a CUDA device, is not there."""
    try:
        import tensorrt
    except ImportError as error:
        raise EngineError(
            "engine tensorrt: expected the package tensorrt (pip install 'trocar[tensorrt]'), "
            "it is not installed"
        ) from error
    if not torch.cuda.is_available():
        raise EngineError("engine tensorrt: expected a CUDA device, found none")
    return tensorrt


def build_engines(weights: LoadedWeights, shape: BankShape, cache: Path | None = None) -> Path:
    """The folder with the plans for this device, built if need be; that takes minutes.

    Raises EngineError: TensorRT is missing or refuses a graph.
    """
    trt = tensorrt_module()
    folder = (cache or cache_root()) / f"{PLANS}{_key(trt, weights, shape)}"
    folder.mkdir(parents=True, exist_ok=True)
    mark_used(folder)
    forget_unused(folder.parent, re.compile(rf"{PLANS}[0-9a-f]{{24}}"))
    for name, graph in graphs_without_keys(weights.model, shape).items():
        plan = folder / f"{name}.plan"
        if plan.is_file():
            continue
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / f"{name}.onnx"
            export_graph(graph, file, bf16=True)
            part = plan.with_suffix(".part")
            part.write_bytes(_build(trt, file))
            part.replace(plan)
    return folder


def _key(trt: Any, weights: LoadedWeights, shape: BankShape) -> str:
    from models.engines.onnx_files import OPSET, REVISION

    said = (
        weights.sha256, shape.backbone, shape.rows, shape.support, shape.recent, OPSET, REVISION,
        torch.__version__, trt.__version__, torch.cuda.get_device_capability(), "bf16",
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def _build(trt: Any, file: Path) -> bytes:
    log = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)  # 11 has no other kind
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(file)):
        reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise EngineError(f"engine tensorrt: {file.name} was refused ({reason})")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32 where the graph says so
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"engine tensorrt: {file.name} could not be built, see TensorRT's log")
    return bytes(plan)


class TensorRtEngine(GpuFunctions):
    """Plans of static shape; fewer rows than C are padded, and the padding dropped."""

    def __init__(self, weights: LoadedWeights, shape: BankShape, cache: Path | None = None) -> None:
        """Builds what the cache lacks. Raises EngineError."""
        trt = tensorrt_module()
        folder = build_engines(weights, shape, cache)
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        backbone = copy.deepcopy(weights.model.backbone).to("cuda")
        super().__init__(backbone, shape.rows, torch.device("cuda"))
        names = graphs_without_keys(weights.model, shape)
        self._plan = {
            name: _Plan(trt, runtime, folder / f"{name}.plan", tuple(graph.inputs), graph.outputs)
            for name, graph in names.items()
        }

    def _run(self, name: str, rows: int, *inputs: Tensor) -> list[Tensor]:
        plan, lacking = self._plan[name], self._rows - rows
        per_row = (*PER_ROW, "conditioned")
        padded = [
            torch.cat([value, value[:1].expand(lacking, *value.shape[1:])])
            if lacking and label in per_row
            else value
            for label, value in zip(plan.inputs, inputs, strict=True)
        ]
        found = plan(*padded)
        return [value[:rows] for value in found] if lacking else found


class _Plan:
    """One plan with its context and buffers at fixed addresses."""

    def __init__(
        self, trt: Any, runtime: Any, path: Path, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise EngineError(f"engine tensorrt: {path.name} does not fit this device: delete it")
        self._context = self._engine.create_execution_context()
        kinds = {
            trt.DataType.FLOAT: torch.float32, trt.DataType.BF16: torch.bfloat16,
            trt.DataType.BOOL: torch.bool, trt.DataType.INT64: torch.int64,
            trt.DataType.INT32: torch.int32,
        }  # fmt: skip
        self._buffer: dict[str, Tensor] = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            kind = kinds[self._engine.get_tensor_dtype(name)]
            shape = tuple(self._engine.get_tensor_shape(name))
            self._buffer[name] = torch.empty(shape, dtype=kind, device="cuda")
            self._context.set_tensor_address(name, self._buffer[name].data_ptr())
        self.inputs, self._outputs = inputs, outputs

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Outputs are copies: the next run overwrites the buffers."""
        for name, value in zip(self.inputs, inputs, strict=True):
            if name in self._buffer:  # what a graph does not use is not among its inputs
                self._buffer[name].copy_(value)
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise EngineError("engine tensorrt: a run failed, see TensorRT's log")
        return [self._buffer[name].float().clone() for name in self._outputs]

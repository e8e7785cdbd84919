"""The engine that somebody asked for."""

from __future__ import annotations

from models.backbone.memory_bank import BankShape
from models.engines.interface import ENGINES, Engine, EngineChoice
from models.errors import EngineError
from models.method.checkpoint import LoadedWeights


def open_engine(
    choice: EngineChoice, weights: LoadedWeights, shape: BankShape, *, rows: bool = True
) -> Engine:
    """The engine for a tracker whose bank has this shape.

    rows: False where see_instruments is all that is asked for
    `auto` is `onnx` where OpenVINO is installed, else `torch`.
    Raises EngineError: unknown name, or its library or device is not there.
    """
    if choice.name not in ENGINES:
        raise EngineError(f"expected an engine of {', '.join(ENGINES)}, got {choice.name}")
    if choice.name == "torch":
        return weights.model.backbone
    if choice.name == "cuda_graph":
        from models.engines.gpu.cuda_graph import CudaGraphEngine

        return CudaGraphEngine(weights, shape, rows=rows)
    if choice.name == "tensorrt":
        from models.engines.gpu.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(weights, shape)
    from models.engines.openvino_engine import OpenVinoEngine, openvino_missing

    missing = openvino_missing()
    if missing and choice.name == "auto":
        return weights.model.backbone
    if missing:
        raise EngineError(f"engine onnx: expected the package openvino, {missing}")
    return OpenVinoEngine(weights, shape, choice.precision, rows=rows)

"""The interface that a tracker runs on, and the choice of what is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from models.backbone import BankTensors, DecodedMasks, ImageFeatures
from models.config import BackboneConfig
from models.errors import EngineError

if TYPE_CHECKING:
    from models.checkpoint import LoadedWeights
    from models.memory_bank import BankShape

ENGINES = ("auto", "torch", "onnx", "cuda_graph", "tensorrt")


class Engine(Protocol):
    """The four functions; see models/backbone.py for the shapes. `Backbone` itself is one."""

    config: BackboneConfig

    @property
    def device(self) -> torch.device:
        """Where tensors are expected, and where the stream's state is kept."""

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Features of one normalised image, (1, 3, S, S)."""

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """Condition a frame on what each row remembers."""

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """Masks, predicted IoU, object score and pointer of each row."""

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """Memories of a frame with its masks."""


@dataclass(frozen=True)
class EngineChoice:
    """name: one of ENGINES; precision: of `onnx`, bf16 where the processor has it (None), or f32"""

    name: str = "auto"
    precision: str | None = None


def open_engine(choice: EngineChoice, weights: LoadedWeights, shape: BankShape) -> Engine:
    """The engine for a tracker whose bank has this shape.

    `auto` is `onnx` where OpenVINO is installed, else `torch`.
    Raises EngineError: unknown name, or its library or device is not there.
    """
    if choice.name not in ENGINES:
        raise EngineError(f"expected an engine of {', '.join(ENGINES)}, got {choice.name}")
    if choice.name == "torch":
        return weights.model.backbone
    if choice.name == "cuda_graph":
        from models.engines.cuda_graph import CudaGraphEngine

        return CudaGraphEngine(weights, shape)
    if choice.name == "tensorrt":
        from models.engines.tensorrt_engine import TensorRtEngine

        return TensorRtEngine(weights, shape)
    from models.engines.openvino_engine import OpenVinoEngine, openvino_missing

    missing = openvino_missing()
    if missing and choice.name == "auto":
        return weights.model.backbone
    if missing:
        raise EngineError(f"engine onnx: expected the package openvino, {missing}")
    return OpenVinoEngine(weights, shape, choice.precision)

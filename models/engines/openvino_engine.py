"""The ONNX files on a processor, by OpenVINO.

Chosen over ONNX Runtime by measurement (docs/engines.md). `make install` leaves out the package
with which OpenVINO's conversion tools report usage; the runtime does not need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone import BankTensors, DecodedMasks, ImageFeatures
from models.checkpoint import LoadedWeights
from models.engines.onnx_files import NAMES, onnx_files
from models.errors import EngineError
from models.memory_bank import BankShape

# Functions that may run in bf16. The encoder may not: masks then agree with torch to 0.984 only,
# against 0.998 so (docs/engines.md).
HALF = ("attend_memory", "attend_own")
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Fused attention kernels ("snippets") are wrong in bf16 in 2026.4 (up to 19 % off); in f32 they are
# right, and faster for the memory encoder and the mask decoder.
_BF16 = {"INFERENCE_PRECISION_HINT": "bf16", "SNIPPETS_MODE": "DISABLE"}


def openvino_missing() -> str | None:
    """Why OpenVINO cannot be used here, in a few words; None where it can."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return "it is not installed"
    return None


class OpenVinoEngine:
    """Compiled graphs of static shape; fewer rows than C are padded, and the padding dropped."""

    def __init__(
        self,
        weights: LoadedWeights,
        shape: BankShape,
        precision: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """precision: bf16 (of HALF alone), f32, or None for bf16 where the processor has it."""
        import openvino

        core = openvino.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if native else "f32")
        if self.precision not in ("bf16", "f32"):
            raise EngineError(f"engine onnx: expected precision bf16 or f32, got {precision}")
        self.config, self._rows = shape.backbone, shape.rows
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
        }
        files = onnx_files(weights, shape, cache)
        settings["CACHE_DIR"] = str(files / "compiled")
        self._request: dict[str, Any] = {}
        for name in NAMES:
            model = core.read_model(str(files / f"{name}.onnx"))
            precise = _F32 if name not in HALF or self.precision == "f32" else _BF16
            compiled = core.compile_model(model, "CPU", settings | precise)
            self._request[name] = compiled.create_infer_request()

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """See Backbone.encode_image; one image."""
        return ImageFeatures(*self._run("encode_image", image))

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """See Backbone.attend_memory; features of one frame, a bank of K + R entries or of one."""
        name = "attend_own" if bank.memory.shape[1] == 1 else "attend_memory"
        count = len(bank.memory)
        conditioned = self._run(
            name,
            features[:1],
            self._padded(bank.memory),
            self._padded(bank.pointer),
            bank.time_code,
            self._padded(bank.distance),
            self._padded(bank.valid),
        )[0]
        return conditioned[:count]

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """See Backbone.decode_masks; features of one frame."""
        count = len(conditioned)
        decoded = self._run(
            "decode_masks", self._padded(conditioned), features.stride8, features.stride4
        )
        return DecodedMasks(*(value[:count] for value in decoded))

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """See Backbone.encode_memory; features of one frame."""
        size, count = self.config.image_size, len(mask_logits)
        if mask_logits.shape[-1] != size:  # outside the graph, where it takes a tenth of the time
            mask_logits = F.interpolate(
                mask_logits, size=(size, size), mode="bilinear", align_corners=False
            )
        return self._run(
            "encode_memory", features[:1], self._padded(mask_logits), self._padded(present)
        )[0][:count]

    def _padded(self, value: Tensor) -> Tensor:
        """Repeat the first row up to C. value: (n, ...), n from 1 to C"""
        lacking = self._rows - len(value)
        if lacking == 0:
            return value
        return torch.cat([value, value[:1].expand(lacking, *value.shape[1:])])

    def _run(self, name: str, *inputs: Tensor) -> list[Tensor]:
        """Results are copies: the request's own buffers are overwritten by its next run."""
        arrays = [np.ascontiguousarray(value.numpy()) for value in inputs]
        results = self._request[name].infer(arrays, share_inputs=True)
        return [torch.from_numpy(np.array(results[index])) for index in range(len(results))]

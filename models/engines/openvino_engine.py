"""The ONNX files on a processor, by OpenVINO.

Chosen over ONNX Runtime by measurement (docs/engines.md). `make install` leaves out the package
with which OpenVINO's conversion tools report usage; the runtime does not need it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors, PlacedTokens
from models.backbone.memory_bank import BankShape
from models.backbone.sam2 import DecodedMasks, ImageFeatures, enlarged
from models.engines.compiled_function import CompiledFunction, infer
from models.engines.graphs import ANEW, HEAD, SEE, any_rows, graph_names
from models.engines.interface import FEW, Found, Function, Sight, Step
from models.engines.key_cache import KeyCache
from models.engines.onnx_files import onnx_files, set_rows
from models.errors import EngineError
from models.instances.instance_head import HeadOutput
from models.method.checkpoint import LoadedWeights

# Functions that may run in bf16. The encoder may not: masks then agree with torch to 0.984 only,
# against 0.998 so (docs/engines.md).
HALF = ("attend_placed", "attend_own")
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
    """Compiled graphs of static shape; rows are padded to a number there is a graph for."""

    own_threads = True
    own_pictures = False
    keeps_keys = True

    def __init__(
        self,
        weights: LoadedWeights,
        shape: BankShape,
        precision: str | None = None,
        cache: Path | None = None,
        *,
        rows: bool = True,
    ) -> None:
        """precision: bf16 (of HALF alone), f32, or None for bf16 where the processor has it

        rows: see open_engine
        """
        import openvino

        core = openvino.Core()
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if native else "f32")
        if self.precision not in ("bf16", "f32"):
            raise EngineError(f"engine onnx: expected precision bf16 or f32, got {precision}")
        self.config, self._rows = shape.backbone, shape.rows
        self.device = torch.device("cpu")
        self.threads = torch.get_num_threads()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(self.threads),
            "ENABLE_CPU_PINNING": "NO",  # or all graphs of one thread share one and the same core
        }
        files = onnx_files(weights, shape, cache, rows=rows or weights.model.instance_head is None)
        settings["CACHE_DIR"] = str(files / "compiled")
        self._core, self._settings = core, settings
        self._request: dict[str, dict[int, Any]] = {}  # by function and number of rows
        if weights.model.instance_head is not None:
            self._request[SEE] = {shape.rows: self._compiled(SEE, _see_instruments(core, files))}
        names = graph_names(weights.model) if rows else ()
        for name in names:
            if name in (*ANEW, HEAD):
                continue
            model = core.read_model(str(files / f"{name}.onnx"))
            self._request[name] = {shape.rows: self._compiled(name, model)}
            if not any_rows(name):
                continue
            model = core.read_model(str(files / f"{name}_any.onnx"))
            for count in range(1, min(FEW + 1, shape.rows)):
                few = model.clone()
                set_rows(few, count)
                self._request[name][count] = self._compiled(name, few)
        self._backbone = weights.model.backbone
        self._keys = KeyCache(self._backbone, shape, self._place)

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """See Backbone.encode_image; one image."""
        if "encode_image" not in self._request:  # opened without rows
            return self._see(image)[0]
        return ImageFeatures(*self._run("encode_image", self._rows, image))

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """See Backbone.attend_memory; features of one frame.

        bank: of K + R entries for all C rows
        """
        placed = self._keys.of(bank)
        bias = self._backbone.key_bias(bank.valid)
        return self._run(
            "attend_placed", self._rows, features[:1], bias, placed.tokens, *placed.keys
        )[0]

    def attend_own(self, features: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        """See Backbone.attend_own; features of one frame."""
        count, (padded, pointers) = self._padded("attend_own", memory, pointer)
        return self._run("attend_own", count, features[:1], padded, pointers)[0][: len(memory)]

    def memories_changed(self, bank: BankTensors) -> None:
        """Keys of memories that have changed."""
        self._keys.refresh(bank)

    def _place(self, memory: Tensor, time_code: Tensor) -> PlacedTokens:
        count, (padded,) = self._padded("place_memories", memory)
        tokens, *keys = (
            one[: len(memory)] for one in self._views("place_memories", count, padded, time_code)
        )
        return PlacedTokens(tokens, tuple(keys))

    def compiled(self, function: nn.Module, *example: Tensor) -> Function:
        """See Engine; in f32, by OpenVINO, on the engine's threads."""
        return CompiledFunction(function, example, self._settings | _F32)

    def recorded(self, step: Step[Found], *_: Any) -> Step[Found]:
        """See Engine: as it is, a graph a function."""
        return step

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """See Backbone.decode_masks; features of one frame."""
        count, (padded,) = self._padded("decode_masks", conditioned)
        decoded = self._run("decode_masks", count, padded, features.stride8, features.stride4)
        return DecodedMasks(*(value[: len(conditioned)] for value in decoded))

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """See Backbone.encode_memory; features of one frame."""
        large = enlarged(mask_logits, self.config.image_size)  # ten times as long in a graph
        count, (logits, there) = self._padded("encode_memory", large, present)
        found = self._run("encode_memory", count, features[:1], logits, there)[0]
        return found[: len(mask_logits)]

    def prompted_pointer(self, features: ImageFeatures, mask: Tensor) -> Tensor:
        """See Backbone.prompted_pointer."""
        return self._backbone.prompted_pointer(features, mask)

    @property
    def see_instruments(self) -> Sight | None:
        """See Engine. None: weights without a instance head."""
        return self._see if SEE in self._request else None

    def _see(self, image: Tensor) -> tuple[ImageFeatures, HeadOutput]:
        found = self._run(SEE, self._rows, image)
        return ImageFeatures(*found[:3]), HeadOutput(*found[3:])

    def _padded(self, name: str, *values: Tensor) -> tuple[int, list[Tensor]]:
        """Repeat the first row up to the next number of rows that there is a graph for.

        values: (n, ...) each, n from 1 to C; returns that number and the padded values
        """
        given = len(values[0])
        count = min(one for one in self._request[name] if one >= given)
        if count == given:
            return count, list(values)
        return count, [
            torch.cat([value, value[:1].expand(count - given, *value.shape[1:])])
            for value in values
        ]

    def _run(self, name: str, rows: int, *inputs: Tensor) -> list[Tensor]:
        """Copies of the results, to be kept."""
        return [value.clone() for value in self._views(name, rows, *inputs)]

    def _views(self, name: str, rows: int, *inputs: Tensor) -> list[Tensor]:
        """Results in the request's own buffers, which its next run overwrites."""
        return infer(self._request[name][rows], inputs)

    def _compiled(self, name: str, model: Any) -> Any:
        half = name in HALF and self.precision == "bf16"
        settings = self._settings | (_BF16 if half else _F32)
        return self._core.compile_model(model, "CPU", settings).create_infer_request()


def _see_instruments(core: Any, files: Path) -> Any:
    """The image encoder and the instance head as one model; its results are the results of both."""
    import openvino

    encoder = core.read_model(str(files / "encode_image.onnx"))
    head = core.read_model(str(files / f"{HEAD}.onnx"))
    given = {port.any_name: port.node.input_value(0) for port in encoder.outputs}
    given["image"] = encoder.input("image")
    for port in head.inputs:
        port.replace(given[port.any_name])
    return openvino.Model([*encoder.results, *head.results], encoder.get_parameters(), SEE)

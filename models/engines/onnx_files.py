"""The network's functions and the parting head as ONNX files, written once per content and kept.

Shapes are static. The names of the files and of their tensors are the interface for any runtime
that takes ONNX:

    encode_image.onnx    image -> stride16, stride8, stride4
    attend_memory.onnx   stride16, memory, pointer, time_code, distance, valid -> conditioned
    place_memories.onnx  memory, time_code -> tokens, keys_0, keys_1, ... one per attention layer
    attend_placed.onnx   stride16, key_bias, tokens, keys_0, ... -> conditioned: attend_memory for
                         who keeps tokens and keys as long as memories are the same
    decode_masks.onnx    conditioned, stride8, stride4 -> mask_logits, iou, object_logit, pointer
    embed_mask.onnx      mask_logits -> embedded
    fuse_memory.onnx     stride16, embedded, present -> memory
    attend_own_0.onnx    stride16, memory, pointer -> attended_on: a layer of attend_memory for a
                         bank of one entry, for the mapping network's target; attend_own_1.onnx and
                         so on take attended_on in stride16's place
    part_instruments.onnx   stride16, stride8, stride4, image -> instrument, vote, texture,
                            attention; where the weights have a parting head

Besides, what only the rows that learn go through (ANY_ROWS) is there once more, as NAME_any.onnx,
with a free number of rows, for runtimes that compile for several: in most frames few rows learn.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import Tensor, nn

from models.backbone import Backbone, ImageFeatures
from models.cache import cache_root, forget_unused, mark_used, writable
from models.checkpoint import LoadedWeights
from models.engines.nested_hiera import NestedImageEncoder, nests
from models.memory_attention import BankTensors, PlacedTokens
from models.memory_bank import BankShape
from models.ofl_sam2 import OflSam2
from models.parting import PartingHead

OPSET = 18
REVISION = 6  # of the graphs; a new one makes new files
PART = "part-"
FOLDERS = re.compile(rf"[0-9a-f]{{24}}|{PART}.*")  # names of ours in a cache
NAMES = (
    "encode_image", "attend_memory", "place_memories", "attend_placed", "decode_masks",
    "embed_mask", "fuse_memory",
)  # fmt: skip
OWN = "attend_own_"  # and the number of the layer
ANY_ROWS = ("place_memories", "embed_mask", "fuse_memory", OWN)  # only rows that learn; or so begun
ANEW, KEEPING = ("attend_memory",), ("place_memories", "attend_placed")  # see Engine.keeps_keys
PARTING = "part_instruments"  # of weights with a parting head
PER_ROW = (
    "memory", "pointer", "distance", "valid", "mask_logits", "present", "embedded", "attended",
    "tau", "gradient", "target", "weight", "decay", "share",
    "anchor_gram", "anchor_cross", "anchor_energy", "recent_gram", "recent_cross", "recent_energy",
)  # fmt: skip


@dataclass(frozen=True)
class Graph:
    """A function ready for export: module, example inputs, names of inputs and outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


def graph_names(model: OflSam2) -> tuple[str, ...]:
    """Those of `graphs`, in its order."""
    layers = range(model.config.backbone.attention_layers)
    names = (*NAMES, *(f"{OWN}{number}" for number in layers))
    return names if model.parting is None else (*names, PARTING)


def any_rows(name: str) -> bool:
    """Is it what only rows that learn go through?"""
    return name.startswith(ANY_ROWS)


def file_names(model: OflSam2) -> tuple[str, ...]:
    """Every file that `onnx_files` writes, without its ending."""
    names = graph_names(model)
    return (*names, *(f"{name}_any" for name in names if any_rows(name)))


def graphs(model: OflSam2, shape: BankShape) -> dict[str, Graph]:
    """The graphs for C rows and a bank of K + R entries; the parting head's if there is one."""
    found = _backbone_graphs(model.backbone, shape)
    if model.parting is not None:
        frame = {name: found["decode_masks"].inputs[name] for name in ("stride8", "stride4")}
        stride16 = found["attend_memory"].inputs["stride16"]
        found[PARTING] = Graph(
            _PartInstruments(model.parting),
            {"stride16": stride16, **frame, **found["encode_image"].inputs},
            ("instrument", "vote", "texture", "attention"),
        )
    return found


def graphs_anew(model: OflSam2, shape: BankShape) -> dict[str, Graph]:
    """Those that an engine needs which keeps no keys."""
    return {name: graph for name, graph in graphs(model, shape).items() if name not in KEEPING}


def _backbone_graphs(backbone: Backbone, shape: BankShape) -> dict[str, Graph]:
    rows, entries = shape.rows, shape.support + shape.recent
    size, grid, width = (
        backbone.config.image_size,
        backbone.config.grid,
        backbone.config.model_width,
    )
    stride16 = torch.zeros(1, width, grid, grid)
    stride8 = torch.zeros(1, width // 4, 2 * grid, 2 * grid)
    stride4 = torch.zeros(1, width // 8, 4 * grid, 4 * grid)
    conditioned = torch.zeros(rows, width, grid, grid)
    bank = _bank(backbone, rows, entries)
    placed = _placed(backbone, rows, entries)
    return {
        "encode_image": Graph(
            NestedImageEncoder(backbone) if nests(backbone.config) else _EncodeImage(backbone),
            {"image": torch.zeros(1, 3, size, size)},
            ("stride16", "stride8", "stride4"),
        ),
        "attend_memory": Graph(
            _AttendMemory(backbone),
            {"stride16": stride16, **bank},
            ("conditioned",),
        ),
        "place_memories": Graph(
            _PlaceMemories(backbone),
            {name: bank[name] for name in ("memory", "time_code")},
            tuple(name for name in placed if name != "key_bias"),
        ),
        "attend_placed": Graph(
            _AttendPlaced(backbone), {"stride16": stride16, **placed}, ("conditioned",)
        ),
        "decode_masks": Graph(
            _DecodeMasks(backbone),
            {"conditioned": conditioned, "stride8": stride8, "stride4": stride4},
            ("mask_logits", "iou", "object_logit", "pointer"),
        ),
        "embed_mask": Graph(
            _EmbedMask(backbone),
            {"mask_logits": torch.zeros(rows, 1, size, size)},
            ("embedded",),
        ),
        "fuse_memory": Graph(
            _FuseMemory(backbone),
            {
                "stride16": stride16,
                "embedded": conditioned,
                "present": torch.ones(rows, dtype=torch.bool),
            },
            ("memory",),
        ),
        **_own_graphs(backbone, stride16, bank),
    }


def _own_graphs(backbone: Backbone, stride16: Tensor, bank: dict[str, Tensor]) -> dict[str, Graph]:
    own = {"memory": bank["memory"][:, 0], "pointer": bank["pointer"][:, 0]}
    rows, area, width = len(own["memory"]), backbone.config.grid**2, backbone.config.model_width
    attended = torch.zeros(rows, area, width)
    return {
        f"{OWN}{number}": Graph(
            _AttendOwn(backbone, number),
            ({"attended": attended} if number else {"stride16": stride16}) | own,
            ("attended_on",),
        )
        for number in range(backbone.config.attention_layers)
    }


def _bank(backbone: Backbone, rows: int, entries: int) -> dict[str, Tensor]:
    config = backbone.config
    return {
        "memory": torch.zeros(rows, entries, config.memory_width, config.grid, config.grid),
        "pointer": torch.zeros(rows, entries, config.model_width),
        "time_code": torch.zeros(entries, dtype=torch.long),
        "distance": torch.ones(rows, entries),
        "valid": torch.ones(rows, entries, dtype=torch.bool),
    }


def _placed(backbone: Backbone, rows: int, entries: int) -> dict[str, Tensor]:
    config = backbone.config
    per_entry = config.grid**2 + config.model_width // config.memory_width
    keys = torch.zeros(rows, entries * per_entry, config.model_width)
    return {
        "key_bias": torch.zeros(rows, 1, keys.shape[1]),
        "tokens": torch.zeros(*keys.shape[:2], config.memory_width),
        **{f"keys_{number}": keys for number in range(config.attention_layers)},
    }


class _EncodeImage(nn.Module):
    """The package's own encoder, its position embedding enlarged beforehand (no bicubic Resize)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.trunk = cast(Any, backbone.sam.image_encoder.trunk)
        grid = backbone.config.image_size // 4
        self.register_buffer("place", self.trunk._get_pos_embed((grid, grid)).detach())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.trunk.patch_embed(image) + self.place
        stages = []
        for number, block in enumerate(self.trunk.blocks):
            tokens = block(tokens)
            if number in self.trunk.stage_ends:
                stages.append(tokens.permute(0, 3, 1, 2))
        (stride4, stride8, stride16, _), _ = self.backbone.sam.image_encoder.neck(stages)
        decoder = self.backbone.sam.sam_mask_decoder
        return stride16, decoder.conv_s1(stride8), decoder.conv_s0(stride4)


class _AttendMemory(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self,
        stride16: Tensor,
        memory: Tensor,
        pointer: Tensor,
        time_code: Tensor,
        distance: Tensor,
        valid: Tensor,
    ) -> Tensor:
        bank = BankTensors(memory, pointer, time_code, distance, valid)
        return self.backbone.attend_memory(stride16, bank)


class _PlaceMemories(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, memory: Tensor, time_code: Tensor) -> tuple[Tensor, ...]:
        placed = self.backbone.place_memories(memory, time_code)
        return placed.tokens, *placed.keys


class _AttendPlaced(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, stride16: Tensor, key_bias: Tensor, *placed: Tensor) -> Tensor:
        tokens = PlacedTokens(placed[0], placed[1:])
        return self.backbone.attend_placed(stride16, tokens, key_bias)


class _DecodeMasks(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, conditioned: Tensor, stride8: Tensor, stride4: Tensor) -> tuple[Tensor, ...]:
        features = ImageFeatures(conditioned, stride8, stride4)
        decoded = self.backbone.decode_masks(conditioned, features)
        return decoded.mask_logits, decoded.iou, decoded.object_logit, decoded.pointer


class _EmbedMask(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, mask_logits: Tensor) -> Tensor:
        return self.backbone.embed_mask(mask_logits)


class _FuseMemory(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, stride16: Tensor, embedded: Tensor, present: Tensor) -> Tensor:
        return self.backbone.fuse_memory(stride16, embedded, present)


class _AttendOwn(nn.Module):
    def __init__(self, backbone: Backbone, number: int) -> None:
        super().__init__()
        self.backbone, self._number = backbone, number

    def forward(self, given: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        return self.backbone.attend_own(self._number, given, memory, pointer)


class _PartInstruments(nn.Module):
    def __init__(self, head: PartingHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, stride16: Tensor, stride8: Tensor, stride4: Tensor, image: Tensor
    ) -> tuple[Tensor, ...]:
        parted = self.head(ImageFeatures(stride16, stride8, stride4), image)
        return parted.instrument, parted.vote, parted.texture, parted.attention


class _Autocast(nn.Module):
    """A function whose products are in bf16; normalisation and outputs are in float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @contextlib.contextmanager
    def precise_norms(self) -> Iterator[None]:
        """On a processor autocast would leave normalisation in bf16, unlike on a GPU."""
        norms = [one for one in self.modules() if isinstance(one, nn.LayerNorm | LayerNorm2d)]
        hooks = [one.register_forward_pre_hook(_in_float32) for one in norms]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            found = self.module(*inputs)
        return tuple(one.float() for one in (found if isinstance(found, tuple) else (found,)))


def _in_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)


def export_graph(graph: Graph, path: Path, *, any_rows: bool = False, bf16: bool = False) -> None:
    """Write one ONNX file.

    any_rows: leave the number of rows open
    bf16: products in bf16, normalisation in float32, said by casts in the graph itself; inputs and
    outputs stay as they are
    """
    per_row = [*(name for name in graph.inputs if name in PER_ROW), *graph.outputs]
    cast_graph = _Autocast(graph.module)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if bf16:
            stack.enter_context(cast_graph.precise_norms())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the tracer's remarks on shapes that are static here
        torch.onnx.export(
            (cast_graph if bf16 else graph.module).eval(),
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={name: {0: "rows"} for name in per_row} if any_rows else None,
        )


def set_rows(model: Any, count: int) -> None:
    """Close the number of rows of an OpenVINO model that leaves it open."""
    per_row = [port for port in model.inputs if port.any_name in PER_ROW]
    if any(port.partial_shape.is_dynamic for port in per_row):
        model.reshape({port: [count, *list(port.partial_shape)[1:]] for port in per_row})


def onnx_files(weights: LoadedWeights, shape: BankShape, cache: Path | None = None) -> Path:
    """The folder with the files for these weights and this bank, exported if need be.

    cache: where such folders are kept; None: ~/.cache/trocar. If it cannot be written to, a
    temporary folder. A folder is complete or not there: it is renamed into place.
    """
    first, key = cache or cache_root(), _content_key(weights, shape)
    if not _is_complete(first / key, weights):
        first = writable(first)
    folder = first / key
    if _is_complete(folder, weights):
        mark_used(folder)
        return folder
    part = Path(tempfile.mkdtemp(prefix=PART, dir=first))
    try:
        for name, graph in graphs(weights.model, shape).items():
            export_graph(graph, part / f"{name}.onnx")
            if any_rows(name):
                export_graph(graph, part / f"{name}_any.onnx", any_rows=True)
    except BaseException:
        shutil.rmtree(part)
        raise
    try:
        part.rename(folder)
    except OSError:  # another process was faster: its files say the same
        shutil.rmtree(part)
    forget_unused(first, FOLDERS)
    return folder


def _is_complete(folder: Path, weights: LoadedWeights) -> bool:
    return all((folder / f"{name}.onnx").is_file() for name in file_names(weights.model))


def _content_key(weights: LoadedWeights, shape: BankShape) -> str:
    said: tuple[Any, ...] = (
        weights.sha256, shape.backbone, shape.rows, shape.support, shape.recent,
        torch.__version__, OPSET, REVISION,
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]

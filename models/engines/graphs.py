"""The network's functions and the instance head, ready for export: modules, shapes, names.

The names of the graphs and of their tensors are the interface for any runtime that takes ONNX:

    encode_image.onnx    image -> stride16, stride8, stride4
    attend_memory.onnx   stride16, memory, pointer, time_code, distance, valid -> conditioned
    place_memories.onnx  memory, time_code -> tokens, keys_0, keys_1, ... one per attention layer
    attend_placed.onnx   stride16, key_bias, tokens, keys_0, ... -> conditioned: attend_memory for
                         who keeps tokens and keys as long as memories are the same
    decode_masks.onnx    conditioned, stride8, stride4 -> mask_logits, iou, object_logit, pointer
    encode_memory.onnx   stride16, mask_logits, present -> memory
    attend_own.onnx      stride16, memory, pointer -> target: attend_memory for a bank of one
                         entry, the frame's own; what the mapping network regresses
    instance_head.onnx   stride16, stride8, stride4, image -> instrument, vote, texture, attention;
                         where the weights have an instance head
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors, PlacedTokens
from models.backbone.memory_bank import BankShape
from models.backbone.sam2 import Backbone, ImageFeatures
from models.engines.nested_hiera import NestedImageEncoder, nests
from models.instances.instance_head import InstanceHead
from models.method.model import OflSam2

NAMES = (
    "encode_image", "attend_memory", "place_memories", "attend_placed", "decode_masks",
    "encode_memory", "attend_own",
)  # fmt: skip
ANY_ROWS = ("place_memories", "encode_memory", "attend_own")  # only classes that learn
ANEW, KEEPING = ("attend_memory",), ("place_memories", "attend_placed")  # see Engine.keeps_keys
HEAD = "instance_head"  # of weights that have one
SEE = "see_instruments"  # encode_image and that in one; not exported, see openvino_engine.py
WITHOUT_ROWS = ("encode_image", HEAD)
PER_ROW = (
    "memory", "pointer", "distance", "valid", "mask_logits", "present",
)  # fmt: skip


FULL = "attend_full"  # attend_memory where every entry counts; not exported, see graph_of_full


@dataclass(frozen=True)
class Graph:
    """A function ready for export: module, example inputs, names of inputs and outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


def graph_names(model: OflSam2) -> tuple[str, ...]:
    """Those of `graphs`, in its order."""
    return NAMES if model.instance_head is None else (*NAMES, HEAD)


def any_rows(name: str) -> bool:
    """Is it what only rows that learn go through?"""
    return name in ANY_ROWS


def graphs(model: OflSam2, shape: BankShape) -> dict[str, Graph]:
    """The graphs for C rows and a bank of K + R entries; the instance head's if there is one."""
    found = _backbone_graphs(model.backbone, shape)
    if model.instance_head is not None:
        frame = {name: found["decode_masks"].inputs[name] for name in ("stride8", "stride4")}
        stride16 = found["attend_memory"].inputs["stride16"]
        found[HEAD] = Graph(
            _InstanceHead(model.instance_head),
            {"stride16": stride16, **frame, **found["encode_image"].inputs},
            ("instrument", "vote", "texture", "attention"),
        )
    return found


def graphs_without_keys(model: OflSam2, shape: BankShape) -> dict[str, Graph]:
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
        "encode_memory": Graph(
            _EncodeMemory(backbone),
            {
                "stride16": stride16,
                "mask_logits": torch.zeros(rows, 1, size, size),
                "present": torch.ones(rows, dtype=torch.bool),
            },
            ("memory",),
        ),
        "attend_own": Graph(
            _AttendOwn(backbone),
            {
                "stride16": stride16,
                "memory": bank["memory"][:, 0],
                "pointer": bank["pointer"][:, 0],
            },
            ("target",),
        ),
    }


def graph_of_full(backbone: Backbone, attend_memory: Graph) -> Graph:
    """attend_memory for a bank without an empty place, which takes no mask."""
    return replace(attend_memory, module=_AttendMemory(backbone, full=True))


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
    def __init__(self, backbone: Backbone, *, full: bool = False) -> None:
        super().__init__()
        self.backbone, self._full = backbone, full

    def forward(
        self,
        stride16: Tensor,
        memory: Tensor,
        pointer: Tensor,
        time_code: Tensor,
        distance: Tensor,
        valid: Tensor,
    ) -> Tensor:
        bank = BankTensors(memory, pointer, time_code, distance, valid, full=self._full)
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


class _EncodeMemory(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, stride16: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        return self.backbone.encode_memory(stride16, mask_logits, present)


class _AttendOwn(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, stride16: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        return self.backbone.attend_own(stride16, memory, pointer)


class _InstanceHead(nn.Module):
    def __init__(self, head: InstanceHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self, stride16: Tensor, stride8: Tensor, stride4: Tensor, image: Tensor
    ) -> tuple[Tensor, ...]:
        head_output = self.head(ImageFeatures(stride16, stride8, stride4), image)
        return head_output.instrument, head_output.vote, head_output.texture, head_output.attention

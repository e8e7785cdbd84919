"""SAM2's memory attention, executed over the sam2 package's own weights.

With real-arithmetic rotary encoding (ONNX and TensorRT have no complex numbers) and a key mask, so
that a bank of constant size may be partly empty. Keys of memories hold no frame: who keeps them
from frame to frame calls `attend_placed`, everybody else `attend_memory`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor, nn

from models.backbone.gpu_attention import attend_on_gpu
from models.config import BackboneConfig


@dataclass(frozen=True)
class BankTensors:
    """What C class rows remember, in a fixed number E of entries.

    memory: (C, E, M, h, w)
    pointer: (C, E, D) object pointers
    time_code: (E,) long, row of the time code table: memories - 1 for support, 0 the newest frame
    distance: (C, E) float, frames between now and the entry, for the pointers' time code
    valid: (C, E) bool; full: all of it is, as far as is known without asking a device
    version: one number per row, another whenever its memories are others; None: not known
    """

    memory: Tensor
    pointer: Tensor
    time_code: Tensor
    distance: Tensor
    valid: Tensor
    version: tuple[int, ...] | None = None
    full: bool = False


@dataclass(frozen=True)
class PlacedTokens:
    """What attention asks: N tokens of C rows, with their keys, which hold place and age.

    tokens: (C, N, M); keys: (C, N, D) each, one per attention layer
    """

    tokens: Tensor
    keys: tuple[Tensor, ...]

    def followed_by(self, other: PlacedTokens) -> PlacedTokens:
        """Both, in this order."""
        keys = zip(self.keys, other.keys, strict=True)
        return PlacedTokens(
            torch.cat([self.tokens, other.tokens], dim=1),
            tuple(torch.cat(pair, dim=1) for pair in keys),
        )


class MemoryAttention(nn.Module):
    """The part of a backbone that conditions a frame on what C rows remember."""

    def __init__(self, config: BackboneConfig, sam: Any) -> None:
        """sam: by build_sam2"""
        super().__init__()
        self.config = config
        self.sam = sam
        cos, sin = _axial_rotation(config.grid, config.model_width)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        self.register_buffer("image_pos", _sine(sam.image_encoder.neck, config.grid), False)
        self.register_buffer("memory_pos", _sine(sam.memory_encoder, config.grid), False)

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """Condition the frame on what each row remembers.

        features: (1 or C, D, h, w) at stride 16
        returns:  (C, D, h, w)
        """
        memories = self.place_memories(bank.memory, bank.time_code)
        placed = memories.followed_by(self.place_pointers(bank.pointer, bank.distance))
        bias = None if bank.full else self.key_bias(bank.valid)
        return self.attend_placed(features, placed, bias)

    def attend_placed(
        self, features: Tensor, placed: PlacedTokens, key_bias: Tensor | None
    ) -> Tensor:
        """The same, with keys that may have been kept from earlier frames.

        placed: a bank's memories and pointers, in this order
        key_bias: of its entries; None: all of them count
        """
        tokens = self._frame_tokens(features)
        for layer, keys in zip(self._layers(), placed.keys, strict=True):
            tokens = self._attention_layer(layer, tokens, keys, placed.tokens, key_bias)
        return self._attended(tokens)

    def attend_own(self, features: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        """attend_memory for banks of one entry each, the frame's own: the mapping network's target.

        features: (1 or n, D, h, w) at stride 16; memory: (n, M, h, w); pointer: (n, D)
        returns: (n, D, h, w)
        """
        support = torch.full((1,), self.config.memories - 1, device=pointer.device)
        memories, placed = self._placed_memories(memory[:, None], support)
        now = torch.zeros_like(pointer[:, :1])
        pointers, aged = self._placed_pointers(pointer[:, None], now)
        remembered = torch.cat([memories, pointers], dim=1)
        tokens = self._frame_tokens(features)
        for layer in self._layers():
            still = layer.cross_attn_image.k_proj(aged)
            keys = torch.cat([self._map_keys(layer, placed), still], dim=1)
            tokens = self._attention_layer(layer, tokens, keys, remembered)
        return self._attended(tokens)

    def place_memories(self, memory: Tensor, time_code: Tensor) -> PlacedTokens:
        """Nothing here depends on the frame. memory: (C, E, M, h, w); time_code: (E,) long"""
        tokens, placed = self._placed_memories(memory, time_code)
        return PlacedTokens(tokens, tuple(self._map_keys(one, placed) for one in self._layers()))

    def place_pointers(self, pointer: Tensor, distance: Tensor) -> PlacedTokens:
        """Pointers have an age and no place. pointer: (C, E, D); distance: (C, E)"""
        tokens, aged = self._placed_pointers(pointer, distance)
        keys = tuple(one.cross_attn_image.k_proj(aged) for one in self._layers())
        return PlacedTokens(tokens, keys)

    def key_bias(self, valid: Tensor) -> Tensor:
        """Added to attention's scores: places of the bank that are empty count for nothing.

        valid: (C, E) bool; returns (C, 1, N), 0 or minus infinity
        """
        area, split = self.config.grid**2, self.config.model_width // self.config.memory_width
        empty = valid.new_zeros(valid.shape, dtype=cast(Tensor, self.rope_cos).dtype)
        bias = empty.masked_fill(~valid, float("-inf"))
        each = [bias.repeat_interleave(count, dim=1) for count in (area, split)]
        return torch.cat(each, dim=1)[:, None]

    def _layers(self) -> Any:
        return self.sam.memory_attention.layers

    def _frame_tokens(self, features: Tensor) -> Tensor:
        """(1 or C, D, h, w) -> (1 or C, hw, D): one row, until memories tell rows apart."""
        image_pos = cast(Tensor, self.image_pos)
        return (features + 0.1 * image_pos).flatten(2).transpose(1, 2)

    def _attended(self, tokens: Tensor) -> Tensor:
        """(C, hw, D) -> (C, D, h, w)"""
        normed = self.sam.memory_attention.norm(tokens)
        grid = self.config.grid
        return cast(Tensor, normed.transpose(1, 2).reshape(tokens.shape[0], -1, grid, grid))

    def _placed_memories(self, memory: Tensor, time_code: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of memories, (C, E hw, M), and the same with place and time code."""
        rows, entries, width = memory.shape[:3]
        area = memory.shape[3] * memory.shape[4]
        tokens = memory.flatten(3).transpose(2, 3).reshape(rows, entries * area, width)
        # (1, M, h, w) -> (1, hw, M)
        sine = cast(Tensor, self.memory_pos).flatten(2).transpose(1, 2)
        codes = self.sam.maskmem_tpos_enc[time_code].view(entries, 1, width)
        return tokens, tokens + (sine + codes).reshape(1, entries * area, width)

    def _placed_pointers(self, pointer: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of pointers, (C, n, M), and the same with their age."""
        rows, entries, width = pointer.shape
        split = width // self.config.memory_width
        tokens = pointer.reshape(rows, entries * split, -1)
        age = get_1d_sine_pe(distance / 15.0, dim=width)
        age = self.sam.obj_ptr_tpos_proj(age.to(pointer.dtype))
        return tokens, tokens + age.repeat_interleave(split, dim=1)

    def _map_keys(self, layer: Any, placed: Tensor) -> Tensor:
        """Keys of whole maps, turned by their places. (C, E hw, M) -> (C, E hw, D)"""
        cos, sin = cast(Tensor, self.rope_cos), cast(Tensor, self.rope_sin)
        entries = placed.shape[1] // cos.shape[0]
        turn = _Turn(cos.repeat(entries, 1), sin.repeat(entries, 1))
        return turn.project(layer.cross_attn_image.k_proj, placed)

    def _attention_layer(
        self,
        layer: Any,
        tokens: Tensor,
        keys: Tensor,
        memory: Tensor,
        key_bias: Tensor | None = None,
    ) -> Tensor:
        """One memory attention layer. tokens: (1 or C, hw, D) -> (C, hw, D)"""
        turn = _Turn(cast(Tensor, self.rope_cos), cast(Tensor, self.rope_sin))
        normed = layer.norm1(tokens)
        own = layer.self_attn
        query, key = turn.project(own.q_proj, normed), turn.project(own.k_proj, normed)
        tokens = tokens + own.out_proj(_attend(query, key, own.v_proj(normed)))

        cross = layer.cross_attn_image
        query = turn.project(cross.q_proj, layer.norm2(tokens))
        # Attention weights sum to one, so projecting what was gathered equals gathering what was
        # projected, at half the arithmetic: a memory is half as wide as the model.
        gathered = _attend(query, keys, memory, key_bias)
        tokens = tokens + cross.out_proj(cross.v_proj(gathered))
        return cast(Tensor, tokens + layer.linear2(F.relu(layer.linear1(layer.norm3(tokens)))))


@dataclass(frozen=True)
class _Turn:
    """Rotary encoding in real arithmetic, cosines and sines per token and channel, (N, D).

    A turned projection is x W cos + x W' sin, where W' is W with its channel pairs swapped and one
    of each pair negated: two products and no shuffling of channels, which engines do slowly.
    """

    cos: Tensor
    sin: Tensor

    def project(self, linear: nn.Linear, tokens: Tensor) -> Tensor:
        """tokens: (C, N, in) -> (C, N, D)"""
        straight: Tensor = linear(tokens)
        if tokens.is_cuda:
            return self.turned(straight)
        crossed = F.linear(tokens, _crossed(linear.weight), _crossed(linear.bias))
        return straight * self.cos + crossed * self.sin

    def turned(self, projected: Tensor) -> Tensor:
        """The same of what is projected, (C, N, D): quicker where a compiler fuses the shuffle."""
        swapped: Tensor = projected.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        sign = torch.arange(projected.shape[-1], device=projected.device) % 2 * 2 - 1
        turned: Tensor = projected * self.cos + swapped * (self.sin * sign)
        return turned.to(projected.dtype)


def _crossed(value: Tensor) -> Tensor:
    """Channels (a, b) of every pair become (-b, a). value: (D, ...)"""
    pairs = value.unflatten(0, (-1, 2))
    return torch.stack([-pairs[:, 1], pairs[:, 0]], dim=1).flatten(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """One-head attention. query: (C, n, D); key: (C, N, D); value: (C, N, V) -> (C, n, V)"""
    if query.is_cuda and query.dtype == torch.bfloat16:  # elsewhere plain products are as quick
        return attend_on_gpu(query, key, value, bias)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)
    if bias is not None:
        scores = scores + bias
    gathered: Tensor = scores.softmax(dim=-1) @ value
    return gathered


def _axial_rotation(grid: int, width: int, theta: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines (grid * grid, width): the first half turns with x, the second with y.

    Axial rotary encoding as in SAM2 (section D.1) and RoPE-ViT (Heo et al. 2024).
    """
    frequency = theta ** -(torch.arange(0, width, 4).float() / width)
    place = torch.arange(grid * grid).float()
    column, row = place % grid, torch.div(place, grid, rounding_mode="floor")
    angle = torch.cat([torch.outer(column, frequency), torch.outer(row, frequency)], dim=1)
    angle = angle.repeat_interleave(2, dim=1)  # both channels of a pair turn together
    return angle.cos(), angle.sin()


def _sine(owner: nn.Module, grid: int) -> Tensor:
    """The module's sine position map, (1, channels, grid, grid), fixed for a fixed input size."""
    position = cast(nn.Module, owner.position_encoding)
    channels = cast(int, position.num_pos_feats) * 2
    return cast(Tensor, position(torch.zeros(1, channels, grid, grid))).float()

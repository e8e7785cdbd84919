"""The image encoder with its tokens in nested order: windows and pooling are mere reshapes.

In nested (Morton) order every aligned window whose side is a power of two is a run of consecutive
tokens, and the 2x2 tokens that pooling joins are four in a row, at every stage. So nothing is
partitioned, shuffled and put back between blocks, which took a third of an engine's time. Attention
does not mind the order of its tokens. The weights are the sam2 package's own; the two projections
that a fine level goes through without anything between them are multiplied beforehand.

Hiera's own authors order tokens alike (Ryali et al. 2023, section 3.2).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone.sam2 import Backbone
from models.config import BackboneConfig


def nests(config: BackboneConfig) -> bool:
    """Do the windows nest at this input size? Those of 14 and 7 tokens do not."""
    powers = all(side & (side - 1) == 0 for side in config.window_spec)
    return powers and (config.image_size // 4) % _block_side(config.window_spec) == 0


class NestedImageEncoder(nn.Module):
    """Backbone.encode_image for a backbone whose windows nest; returns stride 16, 8, 4."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        trunk = cast(Any, backbone.sam.image_encoder.trunk)
        grid = backbone.config.image_size // 4
        block = _block_side(backbone.config.window_spec)
        self._grids = (grid // 4, grid // 2, grid)
        order = nested_order(grid, block)
        self.patches = trunk.patch_embed.proj
        place = trunk._get_pos_embed((grid, grid)).flatten(1, 2)[:, order]
        self.register_buffer("order", order)
        self.register_buffer("place", place.detach())
        for level, side in zip((2, 1, 0), self._grids, strict=True):
            back = nested_order(side, block * side // grid).argsort()
            self.register_buffer(f"back{level}", back)
        self.blocks = nn.ModuleList(_Block(block) for block in trunk.blocks)
        self._ends = tuple(trunk.stage_ends)
        neck, decoder = cast(Any, backbone.sam.image_encoder.neck), backbone.sam.sam_mask_decoder
        lateral = [_as_linear(step.conv) for step in neck.convs][::-1]  # finest first
        self.fine = nn.ModuleList(
            _product(_as_linear(then), lateral[level])
            for level, then in enumerate((decoder.conv_s0, decoder.conv_s1))
        )
        self.coarse = nn.ModuleList(lateral[2:])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image: (1, 3, S, S) normalised"""
        tokens = self.patches(image).flatten(2).transpose(1, 2)  # (1, C, g, g) -> (1, gg, C)
        tokens = tokens[:, cast(Tensor, self.order)] + self.place
        stages = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self._ends:
                stages.append(tokens)
        above = self.coarse[1](stages[3])
        above = above[:, :, None].expand(-1, -1, 4, -1).flatten(1, 2)  # nearest, twice the side
        stride16 = self.coarse[0](stages[2]) + above
        stride4, stride8 = (fine(stage) for fine, stage in zip(self.fine, stages, strict=False))
        return self._map(stride16, 2), self._map(stride8, 1), self._map(stride4, 0)

    def _map(self, tokens: Tensor, level: int) -> Tensor:
        """Tokens in nested order back to a map. (1, gg, C) -> (1, C, g, g)"""
        back = cast(Tensor, getattr(self, f"back{level}"))
        side = self._grids[2 - level]
        return cast(Tensor, tokens[:, back].transpose(1, 2).unflatten(2, (side, side)))


class _Block(nn.Module):
    """One block of the trunk over nested tokens, (1, N, C) -> (1, N or N / 4, C or 2 C)."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.out = block.attn.proj
        self.project = block.proj if block.dim != block.dim_out else None
        self.pools = block.q_stride is not None
        self.window, self.heads = block.window_size**2, block.attn.num_heads
        query, key, value = _thirds(block.attn.qkv)
        scale = (block.dim_out // self.heads) ** -0.5
        query.weight.mul_(scale)
        query.bias.mul_(scale)
        self.query, self.key, self.value = query, key, value

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        shortcut = tokens if self.project is None else self._pooled(self.project(normed))
        tokens = shortcut + self.out(self._attend(normed))
        return cast(Tensor, tokens + self.mlp(self.norm2(tokens)))

    def _attend(self, normed: Tensor) -> Tensor:
        query, key, value = self.query(normed), self.key(normed), self.value(normed)
        area = self.window or normed.shape[1]
        windows = normed.shape[1] // area
        query, key, value = (
            part.view(windows, -1, self.heads, part.shape[2] // self.heads).transpose(1, 2)
            for part in (self._pooled(query), key, value)
        )
        gathered = (query @ key.transpose(2, 3)).softmax(dim=-1) @ value
        return gathered.transpose(1, 2).reshape(1, -1, gathered.shape[1] * gathered.shape[3])

    def _pooled(self, tokens: Tensor) -> Tensor:
        """The largest of every four tokens, where the block pools. (1, N, C) -> (1, N / 4, C)"""
        if not self.pools:
            return tokens
        one, two, three, four = tokens.reshape(1, tokens.shape[1] // 4, -1).chunk(4, dim=2)
        # Not amax: as a reduction over four an engine takes three times as long.
        return torch.maximum(torch.maximum(one, two), torch.maximum(three, four))


def nested_order(grid: int, block: int) -> Tensor:
    """Row-major places of a grid x grid map in nested order: blocks row by row, Morton inside.

    block: a power of two that divides the grid
    """
    y, x = np.divmod(np.arange(grid * grid), grid)
    key = (y // block * (grid // block) + x // block) * block * block
    for bit in range(block.bit_length() - 1):
        key = key + ((x >> bit & 1) << 2 * bit) + ((y >> bit & 1) << 2 * bit + 1)
    return torch.from_numpy(key.argsort())


def _block_side(window_spec: tuple[int, ...]) -> int:
    """Side of the largest window, in tokens of the first stage."""
    return max(side << stage for stage, side in enumerate(window_spec))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()
    return layer.requires_grad_(False)


def _thirds(layer: nn.Linear) -> list[nn.Linear]:
    weights, biases = layer.weight.chunk(3), layer.bias.chunk(3)
    return [_linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _as_linear(conv: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution as a layer over tokens."""
    return _linear(conv.weight[:, :, 0, 0], cast(Tensor, conv.bias))


def _product(then: nn.Linear, first: nn.Linear) -> nn.Linear:
    """Two layers in a row as one."""
    weight = (then.weight.double() @ first.weight.double()).float()
    return _linear(weight, F.linear(first.bias.double(), then.weight.double()).float() + then.bias)

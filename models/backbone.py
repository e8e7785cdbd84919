"""The frozen SAM2 as four stateless functions of static shape.

encode_image, attend_memory, decode_masks, encode_memory. Every class is one row of the batch.
Nothing here remembers anything: what is remembered lives in the memory bank and comes in as
`BankTensors`. Memory attention is executed here over the sam2 package's own weights, with
real-arithmetic rotary encoding (ONNX and TensorRT have no complex numbers) and a key mask (so
that a bank of constant size may be partly empty). The prompt encoder is gone from the path: its
"no prompt" embeddings are constants. A test holds each function against the package's own code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor, nn

from models.architecture import build_sam2
from models.config import BackboneConfig

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
NO_OBJECT_LOGIT = -1024.0


@dataclass(frozen=True)
class ImageFeatures:
    """Features of B frames.

    stride16: (B, D, h, w); stride8: (B, D/4, 2h, 2w); stride4: (B, D/8, 4h, 4w)
    """

    stride16: Tensor
    stride8: Tensor
    stride4: Tensor

    def rows(self, index: Tensor) -> ImageFeatures:
        """One frame per class row. index: (C,) long"""
        return ImageFeatures(self.stride16[index], self.stride8[index], self.stride4[index])


@dataclass(frozen=True)
class BankTensors:
    """What C class rows remember, in a fixed number E of entries.

    memory: (C, E, M, h, w)
    pointer: (C, E, D) object pointers
    time_code: (E,) long, row of the time code table: memories - 1 for support, 0 the newest frame
    distance: (C, E) float, frames between now and the entry, for the pointers' time code
    valid: (C, E) bool
    version: one number per row, another whenever its memories are others; None: not known
    """

    memory: Tensor
    pointer: Tensor
    time_code: Tensor
    distance: Tensor
    valid: Tensor
    version: tuple[int, ...] | None = None


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


@dataclass(frozen=True)
class DecodedMasks:
    """Mask decoder output for C rows.

    mask_logits: (C, 1, 4h, 4w); iou: (C,) predicted IoU, 0 to 1
    object_logit: (C,) is the class in the frame at all; pointer: (C, D)
    """

    mask_logits: Tensor
    iou: Tensor
    object_logit: Tensor
    pointer: Tensor

    def shifted(self, offset: float) -> DecodedMasks:
        """The same with the object score moved by an offset."""
        return replace(self, object_logit=self.object_logit + offset)

    def gated(self) -> Tensor:
        """Mask logits with absent rows emptied, as SAM2 does. (C, 1, 4h, 4w)"""
        present = (self.object_logit > 0)[:, None, None, None]
        return torch.where(present, self.mask_logits, NO_OBJECT_LOGIT)


class Backbone(nn.Module):
    """A SAM2 network and the four functions that the tracker calls."""

    own_threads = False  # it runs on torch's
    keeps_keys = False
    part_instruments = None  # the head runs itself

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.sam = build_sam2(config)
        cos, sin = _axial_rotation(config.grid, config.model_width)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)
        mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
        self.register_buffer("image_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_std", std.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("image_pos", _sine(self.sam.image_encoder.neck, config.grid), False)
        self.register_buffer("memory_pos", _sine(self.sam.memory_encoder, config.grid), False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return cast(Tensor, self.rope_cos).device

    def freeze(self) -> Backbone:
        """Evaluation mode, no gradients."""
        self.eval()
        return self.requires_grad_(False)

    def normalize(self, image: Tensor) -> Tensor:
        """image: (B, 3, S, S) RGB 0 to 255 -> normalised as SAM2 was trained."""
        mean, std = (
            cast(Tensor, one).to(image.device) for one in (self.image_mean, self.image_std)
        )
        return torch.addcmul(-mean / std, image, 1 / (255.0 * std))

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """image: (B, 3, S, S) normalised."""
        out = self.sam.forward_image(image)
        stride4, stride8, stride16 = out["backbone_fpn"]
        return ImageFeatures(stride16, stride8, stride4)

    def without_memory(self, features: Tensor) -> Tensor:
        """The feature of a frame that has no past. (C, D, h, w) -> (C, D, h, w)"""
        return features + cast(Tensor, self.sam.no_mem_embed).view(1, -1, 1, 1)

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """Condition the frame on what each row remembers.

        features: (1 or C, D, h, w) at stride 16
        returns:  (C, D, h, w)
        """
        memories = self.place_memories(bank.memory, bank.time_code)
        placed = memories.followed_by(self.place_pointers(bank.pointer, bank.distance))
        return self.attend_placed(features, placed, self.key_bias(bank.valid))

    def attend_placed(self, features: Tensor, placed: PlacedTokens, key_bias: Tensor) -> Tensor:
        """The same, with keys that may have been kept from earlier frames.

        placed: a bank's memories and pointers, in this order; key_bias: of its entries
        """
        rows = placed.tokens.shape[0]
        height, width = features.shape[-2:]
        image_pos = cast(Tensor, self.image_pos)
        # (C, D, h, w) -> (C, hw, D)
        # One frame for all rows stays one row until the rows' memories tell them apart.
        tokens = (features + 0.1 * image_pos).flatten(2).transpose(1, 2)
        for layer, keys in zip(self._attention_layers(), placed.keys, strict=True):
            tokens = self._attention_layer(layer, tokens, keys, placed.tokens, key_bias)
        tokens = self.sam.memory_attention.norm(tokens)
        return cast(Tensor, tokens.transpose(1, 2).reshape(rows, -1, height, width))

    def place_memories(self, memory: Tensor, time_code: Tensor) -> PlacedTokens:
        """Nothing here depends on the frame. memory: (C, E, M, h, w); time_code: (E,) long"""
        rows, entries, width = memory.shape[:3]
        area = memory.shape[3] * memory.shape[4]
        tokens = memory.flatten(3).transpose(2, 3).reshape(rows, entries * area, width)
        # (1, M, h, w) -> (1, hw, M)
        sine = cast(Tensor, self.memory_pos).flatten(2).transpose(1, 2)
        codes = self.sam.maskmem_tpos_enc[time_code].view(entries, 1, width)
        placed = tokens + (sine + codes).reshape(1, entries * area, width)
        cos, sin = cast(Tensor, self.rope_cos), cast(Tensor, self.rope_sin)
        turn = _Turn(cos.repeat(entries, 1), sin.repeat(entries, 1))
        layers = self._attention_layers()
        keys = tuple(turn.project(one.cross_attn_image.k_proj, placed) for one in layers)
        return PlacedTokens(tokens, keys)

    def place_pointers(self, pointer: Tensor, distance: Tensor) -> PlacedTokens:
        """Pointers have an age and no place. pointer: (C, E, D); distance: (C, E)"""
        rows, entries, width = pointer.shape
        split = width // self.config.memory_width
        tokens = pointer.reshape(rows, entries * split, -1)
        age = get_1d_sine_pe(distance / 15.0, dim=width)
        age = self.sam.obj_ptr_tpos_proj(age.to(pointer.dtype))
        placed = tokens + age.repeat_interleave(split, dim=1)
        layers = self._attention_layers()
        return PlacedTokens(tokens, tuple(one.cross_attn_image.k_proj(placed) for one in layers))

    def key_bias(self, valid: Tensor) -> Tensor:
        """Added to attention's scores: places of the bank that are empty count for nothing.

        valid: (C, E) bool; returns (C, 1, N), 0 or minus infinity
        """
        area, split = self.config.grid**2, self.config.model_width // self.config.memory_width
        empty = valid.new_zeros(valid.shape, dtype=cast(Tensor, self.rope_cos).dtype)
        bias = empty.masked_fill(~valid, float("-inf"))
        each = [bias.repeat_interleave(count, dim=1) for count in (area, split)]
        return torch.cat(each, dim=1)[:, None]

    def remember(self, bank: BankTensors) -> None:
        """See Engine: nothing is kept here."""

    def compiled(self, function: nn.Module, *_: Tensor) -> nn.Module:
        """See Engine: as it is."""
        return function

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """conditioned: (C, D, h, w); features of 1 or C frames, for their fine levels."""
        multimask = self.config.multimask
        return self._decode(conditioned, features, self._no_mask_embedding(), multimask=multimask)

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """Turn a frame and its masks into memories.

        features: (1 or C, D, h, w); mask_logits: (C, 1, *, *) any size, real; present: (C,) bool
        returns:  (C, M, h, w)
        """
        size = self.config.image_size
        if mask_logits.shape[-1] != size:
            mask_logits = F.interpolate(
                mask_logits.float(), size=(size, size), mode="bilinear", align_corners=False
            )
        mask = mask_logits.sigmoid() * 20.0 - 10.0
        encoder = self.sam.memory_encoder
        memory = encoder.pix_feat_proj(features) + encoder.mask_downsampler(mask)
        memory = encoder.out_proj(encoder.fuser(memory))
        absent = self.sam.no_obj_embed_spatial[..., None, None]
        return cast(Tensor, memory + (~present)[:, None, None, None].to(memory.dtype) * absent)

    def prompted_pointer(self, features: ImageFeatures, mask: Tensor) -> Tensor:
        """Object pointer of a given mask (annotated frames only).

        features of C frames; mask: (C, 1, S, S) float 0 or 1; returns (C, D)
        """
        prompt = self.sam.mask_downsample(mask)
        size = self.sam.sam_prompt_encoder.mask_input_size
        prompt = F.interpolate(
            prompt.float(), size=size, mode="bilinear", align_corners=False, antialias=True
        )
        dense = self.sam.sam_prompt_encoder.mask_downscaling(prompt)
        decoded = self._decode(features.stride16, features, dense, multimask=False)
        present = mask.flatten(1).amax(dim=1) > 0.5
        return self._gate_pointer(decoded.pointer, present)

    def _decode(
        self, conditioned: Tensor, features: ImageFeatures, dense: Tensor, *, multimask: bool
    ) -> DecodedMasks:
        rows = conditioned.shape[0]
        decoder, prompts = self.sam.sam_mask_decoder, self.sam.sam_prompt_encoder
        no_point = prompts.not_a_point_embed.weight
        masks, iou, tokens, object_logit = decoder(
            image_embeddings=conditioned,
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=no_point.expand(rows, 2, -1),
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=[features.stride4, features.stride8],
        )
        best = iou.argmax(dim=1)
        row = torch.arange(rows, device=iou.device)
        token = tokens[row, best if tokens.shape[1] > 1 else 0]
        pointer = self.sam.obj_ptr_proj(token)
        return DecodedMasks(
            mask_logits=masks[row, best][:, None].float(),
            iou=iou[row, best].float(),
            object_logit=object_logit[:, 0].float(),
            pointer=self._gate_pointer(pointer, object_logit[:, 0] > 0),
        )

    def _gate_pointer(self, pointer: Tensor, present: Tensor) -> Tensor:
        return torch.where(present[:, None], pointer, self.sam.no_obj_ptr.to(pointer.dtype))

    def _no_mask_embedding(self) -> Tensor:
        weight = self.sam.sam_prompt_encoder.no_mask_embed.weight
        return cast(Tensor, weight.view(1, -1, 1, 1))

    def _attention_layers(self) -> Any:
        return self.sam.memory_attention.layers

    def _attention_layer(
        self, layer: Any, tokens: Tensor, keys: Tensor, memory: Tensor, key_bias: Tensor
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
        crossed = F.linear(tokens, _crossed(linear.weight), _crossed(linear.bias))
        return straight * self.cos + crossed * self.sin


def _crossed(value: Tensor) -> Tensor:
    """Channels (a, b) of every pair become (-b, a). value: (D, ...)"""
    pairs = value.unflatten(0, (-1, 2))
    return torch.stack([-pairs[:, 1], pairs[:, 0]], dim=1).flatten(0, 1)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """One-head attention. query: (C, n, D); key: (C, N, D); value: (C, N, V) -> (C, n, V)"""
    if query.is_cuda:  # fused there; for export and on the processor plain products are as quick
        return F.scaled_dot_product_attention(
            query[:, None], key[:, None], value[:, None], None if bias is None else bias[:, None]
        )[:, 0]
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

"""Decoders for the LoRA-tuned encoder: plain, after SAMed, and hierarchical, after H-SAM."""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.comparators.dense import dense_loss, with_background
from models.backbone.sam2 import Backbone, ImageFeatures


class PlainDecoder(nn.Module):
    """A tuned copy of SAM2's mask decoder, asked once a class with a learnt prompt token."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        sam = backbone.sam
        self.classes = classes
        self.decoder = copy.deepcopy(sam.sam_mask_decoder).requires_grad_(True)
        self.prompt = nn.Parameter(torch.randn(classes, 2, backbone.config.model_width))
        prompts = sam.sam_prompt_encoder
        no_mask, no_memory = prompts.no_mask_embed.weight, cast(Tensor, sam.no_mem_embed)
        self.register_buffer("dense", no_mask.detach().view(1, -1, 1, 1).clone())
        self.register_buffer("no_memory", no_memory.detach().view(1, -1, 1, 1).clone())
        self.register_buffer("place", prompts.get_dense_pe().detach().clone())

    def forward(self, features: ImageFeatures) -> list[Tensor]:
        """One stage. Features of B frames -> logits (B, C, 4h, 4w) against background"""
        frames, count = len(features.stride16), self.classes
        index = torch.arange(frames).repeat_interleave(count)
        rows = features.rows(index)
        image = rows.stride16 + cast(Tensor, self.no_memory)
        masks, _, _, _ = self.decoder(
            image_embeddings=image,
            image_pe=self.place,
            sparse_prompt_embeddings=self.prompt.repeat(frames, 1, 1),
            dense_prompt_embeddings=cast(Tensor, self.dense).expand_as(image),
            multimask_output=False,
            repeat_image=False,
            high_res_features=[rows.stride4, rows.stride8],
        )
        return [masks[:, 0].unflatten(0, (frames, count))]

    def loss(self, features: ImageFeatures, label: Tensor) -> Tensor:
        """label: (B, S, S)"""
        return dense_loss(self(features)[-1], label)


class HierarchicalDecoder(nn.Module):
    """The plain decoder's answer guides a second one.

    Tokens learn what the first stage took them for, attend most to tokens it took for the same,
    and are brought back to stride 4 level by level, with all classes side by side.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        width = backbone.config.model_width
        self.first = PlainDecoder(backbone, classes)
        self.embed = nn.Conv2d(classes + 1, width, 1)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.guidance = nn.Parameter(torch.tensor(1.0))
        self.middle = _Up(width, width // 4)
        self.fine = _Up(width // 4, width // 8)
        self.last = nn.Conv2d(width // 8, classes, 1)

    def forward(self, features: ImageFeatures) -> list[Tensor]:
        """Both stages, each (B, C, 4h, 4w), logits against background."""
        coarse = self.first(features)[-1]
        believed = with_background(coarse).softmax(dim=1)
        prior = F.adaptive_avg_pool2d(believed, features.stride16.shape[-1])
        tokens = self._guided(features.stride16 + self.embed(prior), prior)
        fine = self.fine(self.middle(tokens, features.stride8), features.stride4)
        return [coarse, coarse + self.last(fine)]

    def loss(self, features: ImageFeatures, label: Tensor) -> Tensor:
        """Both stages weigh the same. label: (B, S, S)"""
        first, second = self(features)
        return (dense_loss(first, label) + dense_loss(second, label)) / 2

    def _guided(self, value: Tensor, prior: Tensor) -> Tensor:
        """Attention that prefers tokens of the same class. value: (B, D, h, w)"""
        height, width = value.shape[-2:]
        tokens, taken = value.flatten(2).transpose(1, 2), prior.flatten(2)
        alike = (taken.transpose(1, 2) @ taken).clamp_min(1e-3).log()  # (B, hw, hw)
        bias = (self.guidance * alike).repeat_interleave(self.attention.num_heads, dim=0)
        normed = self.norm(tokens)
        gathered, _ = self.attention(normed, normed, normed, attn_mask=bias, need_weights=False)
        return cast(Tensor, (tokens + gathered).transpose(1, 2).unflatten(2, (height, width)))


class _Up(nn.Module):
    """Twice the size, joined with the encoder's level of that size."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inward, outward, 1)
        self.join = nn.Conv2d(2 * outward, outward, 3, padding=1)

    def forward(self, value: Tensor, level: Tensor) -> Tensor:
        large = F.interpolate(self.narrow(value), scale_factor=2.0, mode="bilinear")
        return F.relu(self.join(torch.cat([large, level], dim=1)))

"""A LoRA-tuned encoder: low-rank adapters on Hiera's queries and values, and a decoder of its own.

The backbone's weights stay as they are; a copy of the image encoder gets adapters of rank 4, which
are trained with the decoder on the annotated frames, every frame by itself. Two decoders, see
decoders.py. Ideas: SAMed (Zhang and Liu 2023) for the plain one, H-SAM (Cheng et al. 2024) for the
hierarchical one; LoRA (Hu et al. 2021).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from sam2.modeling.backbones.hieradet import MultiScaleAttention
from torch import Tensor, nn

from benchmarks.comparators.decoders import HierarchicalDecoder, PlainDecoder
from benchmarks.comparators.dense import DensePredictor, Training, seeded, train
from benchmarks.comparators.interface import FitSettings, Predictor
from models.backbone.sam2 import Backbone
from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights
from models.types import ClassSpec

RANK = 4  # SAMed's
STEPS = 150


def fit_plain(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Predictor:
    """SAMed's idea: SAM's own mask decoder, tuned along, one learnt prompt a class."""
    return _fit(weights, classes, frames, settings, hierarchical=False)


def fit_hierarchical(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Predictor:
    """H-SAM's idea: the same answer is the prior of a second decoder, which sees finer levels."""
    return _fit(weights, classes, frames, settings, hierarchical=True)


def _fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
    *,
    hierarchical: bool,
) -> Predictor:
    backbone = weights.model.backbone
    kind = HierarchicalDecoder if hierarchical else PlainDecoder
    network = cast(
        "LowRankNetwork",
        seeded(settings, lambda: LowRankNetwork(backbone, kind(backbone, len(classes)))),
    )

    def loss(image: Tensor, label: Tensor) -> Tensor:
        return network.loss(backbone.normalize(image), label)

    train(network, loss, frames, Training(settings.steps(STEPS)), settings.seed)
    return DensePredictor(network, backbone, [spec.class_id for spec in classes])


class LowRankNetwork(nn.Module):
    """Adapted encoder and decoder."""

    def __init__(self, backbone: Backbone, decoder: PlainDecoder | HierarchicalDecoder) -> None:
        super().__init__()
        self.adapted = copy.deepcopy(backbone).requires_grad_(False)
        self.decoder = decoder
        for part in self.adapted.sam.image_encoder.trunk.modules():
            if isinstance(part, MultiScaleAttention):
                part.qkv = LowRank(cast(nn.Linear, part.qkv))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) normalised -> logits (B, C, h, w) against background"""
        stages: list[Tensor] = self.decoder(self.adapted.encode_image(image))
        return stages[-1]

    def loss(self, image: Tensor, label: Tensor) -> Tensor:
        """Of all the decoder's stages."""
        return self.decoder.loss(self.adapted.encode_image(image), label)


class LowRank(nn.Module):
    """A frozen projection to queries, keys and values plus a low-rank change of the first and last.

    The change begins at zero. Source: LoRA; which of the three is adapted: SAMed.
    """

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        width = frozen.out_features // 3
        self.down = nn.Linear(frozen.in_features, 2 * RANK, bias=False)
        self.up_query = nn.Linear(RANK, width, bias=False)
        self.up_value = nn.Linear(RANK, width, bias=False)
        nn.init.zeros_(self.up_query.weight)
        nn.init.zeros_(self.up_value.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in) -> (..., 3 width)"""
        query, value = self.down(tokens).chunk(2, dim=-1)
        query, value = self.up_query(query), self.up_value(value)
        change = torch.cat([query, torch.zeros_like(query), value], dim=-1)
        return cast(Tensor, self.frozen(tokens) + change)

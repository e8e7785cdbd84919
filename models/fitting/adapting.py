"""Trains the instance head on a user's annotated pictures, the trunk frozen.

Phantom frames go along, or the head forgets what an instrument may look like. What is kept is a
running mean of the steps. docs/method.md has what it is worth.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor, nn

from models.backbone.sam2 import Backbone
from models.fitting.frame_augmentation import Augmentation, LabelledPicture
from models.instances.instance_head import InstanceHead
from models.tensor_tree import mapped
from models.types import IGNORE_ID

LAYOUT = torch.channels_last  # a step takes a sixth less than in the usual order


@dataclass(frozen=True)
class AdaptConfig:
    """How a head is adapted.

    steps: of AdamW, `annotated` pictures and `phantoms` each; rate: at the start, falls as a cosine
    memory: of the running mean, per step
    """

    steps: int = 80
    rate: float = 5e-4
    annotated: int = 3
    phantoms: int = 1
    memory: float = 0.97
    decay: float = 0.01


class Adaptation:
    """One training of a copy of the head."""

    def __init__(
        self,
        backbone: Backbone,
        phantoms: Sequence[LabelledPicture],
        config: AdaptConfig,
        told: Callable[[], object] = lambda: None,
    ) -> None:
        """told: is called after every step"""
        self._backbone, self._phantoms, self._config = backbone, phantoms, config
        self._augmentation = Augmentation(backbone.config.image_size)
        self._told = told

    def adapted(
        self, head: InstanceHead, pictures: Sequence[LabelledPicture], rng: Generator
    ) -> InstanceHead:
        """A head trained on these pictures, from this one."""
        config = self._config
        trained = copy.deepcopy(head).train().requires_grad_(True)
        trained.to(memory_format=LAYOUT)  # type: ignore[call-overload]
        trained.embedder.requires_grad_(False)
        mean = copy.deepcopy(head)
        own = [one for one in trained.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(own, lr=config.rate, weight_decay=config.decay)
        for step in range(config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.rate * _fade(step, config.steps)
            loss = self._loss(trained, self._drawn(pictures, rng))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if torch.isfinite(nn.utils.clip_grad_norm_(own, 1.0)):
                optimizer.step()
            _approach(mean, trained, min(config.memory, (step + 1) / (step + 10)))
            self._told()
        return mean.eval().requires_grad_(False)

    def _drawn(self, pictures: Sequence[LabelledPicture], rng: Generator) -> list[LabelledPicture]:
        sources = [*pictures, *self._phantoms]
        drawn = []
        for n in rng.integers(len(pictures), size=self._config.annotated):
            # Another annotated picture as often as any phantom together.
            others = sources if rng.random() < 0.5 else pictures
            drawn.append(self._augmentation.draw(pictures[int(n)], others, rng))
        for n in rng.integers(len(self._phantoms), size=self._config.phantoms):
            drawn.append(self._augmentation.draw(self._phantoms[int(n)], pictures, rng, bare=False))
        return drawn

    def _loss(self, head: InstanceHead, drawn: list[LabelledPicture]) -> Tensor:
        pixels = torch.from_numpy(np.stack([one.image_rgb for one in drawn]))
        region = torch.from_numpy(np.stack([one.region for one in drawn]))[:, None]
        image = self._backbone.normalize(pixels.permute(0, 3, 1, 2).float())
        with torch.autocast("cpu", torch.bfloat16, enabled=_fast()):
            with torch.no_grad():
                features = mapped(self._backbone.encode_image(image), _laid_out)
            logits = head(features, image).instrument.float()
        known = F.adaptive_avg_pool2d((region != IGNORE_ID).float(), logits.shape[-1])
        cover = F.adaptive_avg_pool2d((region == 1).float(), logits.shape[-1])
        whole = cover / known.clamp_min(1e-6)
        return instrument_loss(logits, whole, (known > 0.5).float()).mean()


def instrument_loss(logits: Tensor, cover: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy and, where there is an instrument, Dice. (N, 1, h, w) each; returns (N,)

    cover: share of instrument; known: 0 where nobody says what a pixel shows
    """
    entropy = F.binary_cross_entropy_with_logits(logits, cover, reduction="none") * known
    seen = known.sum(dim=(1, 2, 3)).clamp_min(1)
    probability, truth = logits.sigmoid() * known, cover * known
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    size = (probability + truth).sum(dim=(1, 2, 3))
    shown = (truth.amax(dim=(1, 2, 3)) > 0.5).float()
    return 4 * entropy.sum(dim=(1, 2, 3)) / seen + shown * (1 - (2 * overlap + 1) / (size + 1))


def mean_head(heads: Sequence[InstanceHead]) -> InstanceHead:
    """The head whose weights are the mean of these."""
    mean = copy.deepcopy(heads[0])
    each = [head.state_dict() for head in heads]
    mean.load_state_dict({key: torch.stack([one[key] for one in each]).mean(0) for key in each[0]})
    return mean


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=LAYOUT)


def _fade(step: int, steps: int) -> float:
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))


def _fast() -> bool:
    """Does the processor multiply in bf16 itself? Emulated, it is nine times as slow."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@torch.no_grad()
def _approach(mean: InstanceHead, head: InstanceHead, memory: float) -> None:
    for old, new in zip(mean.parameters(), head.parameters(), strict=True):
        old.lerp_(new, 1 - memory)

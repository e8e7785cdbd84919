"""Prototype prompts: a learnt prototype a class is turned into a prompt for the mask decoder.

Where a frame's feature resembles a class's prototype it is raised; small networks make dense and
sparse prompt embeddings of what results, told apart by an embedding for the class asked for and
one for all others. Prototypes are trained by contrast with the classes' mean features, the prompts
and a copy of the decoder by the masks; the image encoder stays frozen. SurgicalSAM is told at test
which classes a frame shows; here every class is asked for and the object score decides. Idea:
SurgicalSAM (Yue et al. 2024).
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.comparators.dense import DensePredictor, Training, seeded, train
from benchmarks.comparators.interface import FitSettings, Predictor
from models.backbone.sam2 import NO_OBJECT_LOGIT, Backbone, ImageFeatures
from models.fitting.annotated import AnnotatedFrames
from models.learner.losses import mask_loss, quality_loss
from models.method.checkpoint import LoadedWeights
from models.types import ClassSpec

STEPS = 200
TEMPERATURE = 0.07  # of the contrast, as is usual


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> Predictor:
    """Prototypes begin as the mean features of their classes."""
    backbone = weights.model.backbone
    prompter = cast(
        "PrototypePrompts", seeded(settings, lambda: PrototypePrompts(backbone, len(classes)))
    )
    prompter.begin(backbone, frames)

    def loss(image: Tensor, label: Tensor) -> Tensor:
        with torch.no_grad():
            features = backbone.encode_image(backbone.normalize(image))
        return prompter.loss(features, label)

    train(prompter, loss, frames, Training(settings.steps(STEPS)), settings.seed)

    def network(image: Tensor) -> Tensor:
        return prompter.gated(backbone.encode_image(image))

    return DensePredictor(network, backbone, [spec.class_id for spec in classes])


class PrototypePrompts(nn.Module):
    """Prototypes, the networks that make prompts of them, and a decoder that learns to obey."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        width, sam = backbone.config.model_width, backbone.sam
        self.prototype = nn.Parameter(torch.randn(classes, width))
        self.decoder = copy.deepcopy(sam.sam_mask_decoder).requires_grad_(True)
        self.asked = nn.Parameter(0.02 * torch.randn(2, width))  # asked for, all others
        self.dense = _small(width)
        self.sparse = _small(width)
        prompts = sam.sam_prompt_encoder
        no_memory = cast(Tensor, sam.no_mem_embed)
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach().clone())
        self.register_buffer("no_memory", no_memory.detach().view(1, -1, 1, 1).clone())
        self.register_buffer("place", prompts.get_dense_pe().detach().clone())

    @torch.no_grad()
    def begin(self, backbone: Backbone, frames: AnnotatedFrames) -> None:
        """The mean feature of each class over the annotated frames."""
        image = torch.from_numpy(frames.image).permute(0, 3, 1, 2).float()
        feature = torch.cat(
            [backbone.encode_image(backbone.normalize(one[None])).stride16 for one in image]
        )
        cover = F.adaptive_avg_pool2d(
            torch.from_numpy(frames.mask).float().transpose(0, 1), feature.shape[-1]
        )
        for row in range(len(self.prototype)):
            shown = cover[:, row].flatten(1).sum(dim=1) > 0
            self.prototype[row] = class_means(feature, cover)[shown, row].mean(dim=0)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Features of B frames -> rows (B C): mask logits (., 1, 4h, 4w), IoU, object logit"""
        feature, count = features.stride16, len(self.prototype)
        frames = len(feature)
        raised = self._raised(feature)  # (B, C, hw, D)
        dense = self.dense(raised)  # of the class asked for
        others = torch.eye(count, dtype=torch.bool).logical_not().long()
        told = self.sparse(raised.mean(dim=2))  # of all classes, (B, C, D)
        sparse = told[:, None] + self.asked[others]  # (B, C asked for, C, D)
        index = torch.arange(frames).repeat_interleave(count)
        rows = features.rows(index)
        prompt = dense.flatten(0, 1).transpose(1, 2).unflatten(2, feature.shape[-2:])
        no_mask = cast(Tensor, self.no_mask).view(1, -1, 1, 1)
        masks, iou, _, object_logit = self.decoder(
            image_embeddings=rows.stride16 + cast(Tensor, self.no_memory),
            image_pe=self.place,
            sparse_prompt_embeddings=sparse.flatten(0, 1),
            dense_prompt_embeddings=no_mask + prompt,
            multimask_output=False,
            repeat_image=False,
            high_res_features=[rows.stride4, rows.stride8],
        )
        return masks, iou[:, 0], object_logit[:, 0]

    def gated(self, features: ImageFeatures) -> Tensor:
        """One frame's logits, (1, C, 4h, 4w), absent classes emptied."""
        masks, _, object_logit = self(features)
        shown = (object_logit > 0)[:, None, None, None]
        return torch.where(shown, masks, NO_OBJECT_LOGIT)[:, 0][None]

    def loss(self, features: ImageFeatures, label: Tensor) -> Tensor:
        """Masks, object scores and contrast. label: (B, S, S)"""
        count = len(self.prototype)
        truth = F.one_hot(label, count + 1).movedim(-1, 1)[:, 1:].float()  # (B, C, S, S)
        masks, iou, object_logit = self(features)
        rows = truth.flatten(0, 1)[:, None]
        own = mask_loss(masks, rows) + quality_loss(iou, object_logit, masks, rows)
        return own.mean() + self.contrast(features.stride16, truth)

    def contrast(self, feature: Tensor, truth: Tensor) -> Tensor:
        """A class's mean feature should be nearest to its own prototype."""
        cover = F.adaptive_avg_pool2d(truth, feature.shape[-1])
        shown = cover.flatten(2).sum(dim=2) > 0
        if not bool(shown.any()):
            return self.prototype.sum() * 0
        means = F.normalize(class_means(feature, cover)[shown], dim=-1)
        similarity = means @ F.normalize(self.prototype, dim=-1).T / TEMPERATURE
        return F.cross_entropy(similarity, torch.nonzero(shown)[:, 1])

    def _raised(self, feature: Tensor) -> Tensor:
        """The feature, more of it where it resembles each prototype. -> (B, C, hw, D)"""
        tokens = feature.flatten(2).transpose(1, 2)
        alike = F.normalize(tokens, dim=-1) @ F.normalize(self.prototype, dim=-1).T  # (B, hw, C)
        return tokens[:, None] * (1 + alike.transpose(1, 2)[..., None])


def class_means(feature: Tensor, cover: Tensor) -> Tensor:
    """Mean feature of each class. feature: (B, D, h, w); cover: (B, C, h, w) -> (B, C, D)"""
    total = cover.flatten(2).sum(dim=2, keepdim=True).clamp_min(1e-4)
    return cover.flatten(2) @ feature.flatten(2).transpose(1, 2) / total


def _small(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

"""Networks that label every pixel of one frame: how they are trained and how they answer.

Logits are against background, whose own is zero: (B, C, h, w), softmax over C + 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.comparators.interface import FitSettings
from models.backbone.image_input import class_map, to_input
from models.backbone.sam2 import Backbone
from models.fitting.annotated import AnnotatedFrames
from models.types import UInt8Array

BATCH = 4
DICE_SHARE = 0.8  # of the loss, the rest is cross-entropy; SAMed's weights
Network = Callable[[Tensor], Tensor]  # (B, 3, S, S) normalised -> logits (B, C, h, w)
Loss = Callable[[Tensor, Tensor], Tensor]  # image, label -> scalar


@dataclass(frozen=True)
class Training:
    """steps of BATCH frames each; rate: AdamW's at its height, it rises and then falls to zero"""

    steps: int
    rate: float = 1e-3
    decay: float = 0.01


def labels_of(frames: AnnotatedFrames) -> Tensor:
    """(N, S, S) long, 0 background, 1 to C the class's row and one."""
    mask = torch.from_numpy(frames.mask).long()
    number = torch.arange(1, len(mask) + 1).view(-1, 1, 1, 1)
    return (mask * number).amax(dim=0)


def train(
    module: nn.Module, loss: Loss, frames: AnnotatedFrames, training: Training, seed: int
) -> None:
    """AdamW over augmented batches; only parameters that require gradients move.

    loss: of image (B, 3, S, S) float 0 to 255 and label (B, S, S)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        learnt = [one for one in module.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=training.rate, weight_decay=training.decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rise_and_fall(training.steps))
        module.train()
        for image, label in batches(frames, training.steps):
            optimizer.zero_grad(set_to_none=True)
            loss(image, label).backward()
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            schedule.step()
        module.eval()


def _rise_and_fall(steps: int) -> Callable[[int], float]:
    rise = max(1, steps // 10)

    def factor(step: int) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        return min(1.0, (step + 1) / rise) * fall

    return factor


def batches(frames: AnnotatedFrames, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every frame once before any comes again; flipped, scaled and lit at random."""
    images = torch.from_numpy(frames.image).permute(0, 3, 1, 2)
    labels = labels_of(frames)
    order: list[int] = []
    for _ in range(steps):
        while len(order) < BATCH:
            order += torch.randperm(len(images)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        yield augmented(images[chosen].float(), labels[chosen])


def augmented(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """image: (B, 3, S, S) 0 to 255; label: (B, S, S)"""
    count = len(image)
    turn = torch.zeros(count, 2, 3)
    scale = torch.empty(count).uniform_(0.75, 1.15)
    flip = torch.randint(0, 2, (count,)) * 2.0 - 1
    turn[:, 0, 0], turn[:, 1, 1] = scale * flip, scale
    turn[:, :, 2] = torch.empty(count, 2).uniform_(-0.15, 0.15)
    grid = F.affine_grid(turn, list(image.shape), align_corners=False)
    moved = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    shown = F.grid_sample(
        label[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    light = torch.empty(count, 1, 1, 1).uniform_(0.8, 1.2)
    tint = torch.empty(count, 3, 1, 1).uniform_(0.9, 1.1)
    return (moved * light * tint).clamp(0, 255), shown[:, 0].long()


def dense_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy and Dice over the classes that a batch shows, at the logits' size.

    logits: (B, C, h, w) against background; label: (B, S, S)
    """
    size = logits.shape[-2:]
    small = F.interpolate(label[:, None].float(), size, mode="nearest")[:, 0].long()
    whole = with_background(logits)
    entropy = F.cross_entropy(whole, small)
    truth = F.one_hot(small, whole.shape[1]).movedim(-1, 1).float()
    prob = whole.softmax(dim=1)
    overlap = (prob * truth).sum(dim=(0, 2, 3))
    total = prob.square().sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
    return (1 - DICE_SHARE) * entropy + DICE_SHARE * dice


def with_background(logits: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C + 1, h, w), background first."""
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


class DensePredictor:
    """Every frame by itself."""

    def __init__(self, network: Network, backbone: Backbone, class_ids: Iterable[int]) -> None:
        self._network, self._backbone, self._class_ids = network, backbone, list(class_ids)

    def start(self) -> None:
        """There is nothing to forget."""

    @torch.inference_mode()
    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """The best class of each pixel where it beats background."""
        image = to_input(image_rgb, self._backbone.config.image_size)
        logits = self._network(self._backbone.normalize(image))
        return class_map(logits[0].float().numpy(), self._class_ids, image_rgb.shape[:2])


def seeded(settings: FitSettings, build: Callable[[], nn.Module]) -> nn.Module:
    """A module whose random start is the seed's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return build()

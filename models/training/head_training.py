"""Trains the instance head on phantoms, on a frozen trunk, and adds it to the embedded weights.

Weights that have one already are gone on from. What is written is a running mean of the steps.

python -m models.training.head_training RUN/nano.safetensors RUN/parted.safetensors [STEPS]
"""

from __future__ import annotations

import copy
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from models.instances.instance_head import HeadOutput, InstanceHead
from models.instances.vote_grouping import RADIUS
from models.learner.losses import mask_loss, region_contrast
from models.method.checkpoint import add_head, load_embedded
from models.training.curve import draw_curve
from models.training.head_frames import FramePool, HeadFrames
from models.training.precision import training_precision

STEPS, PROCEDURES, FRAMES, POOL = 1600, 8, 4, 700
RATE, WARM_UP = 2e-3, 60
CLOSE, APART = 0.06, 0.45  # of votes: within an instrument, between the means of two
MEMORY = 0.995  # of the running mean, per step
LEAST = 6  # pixels of an instance that counts
WEIGHTS = {"found": 2.0, "vote": 6.0, "pull": 8.0, "push": 4.0, "apart": 1.5, "contrast": 0.5}


@dataclass
class _Terms:
    """What one batch says about its instances, before averaging."""

    vote: list[Tensor] = field(default_factory=list)
    pull: list[Tensor] = field(default_factory=list)
    push: list[Tensor] = field(default_factory=list)
    apart: list[Tensor] = field(default_factory=list)
    pooled: list[Tensor] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)


def head_losses(head: InstanceHead, batch: HeadFrames, frames: int) -> dict[str, Tensor]:
    """Losses of a batch of procedures with `frames` frames each."""
    with training_precision():
        half = head(batch.features, batch.image)
    head_output = HeadOutput(*(value.float() for value in vars(half).values()))
    terms = _Terms()
    for index in range(len(batch.image)):
        _frame_terms(head, head_output, batch, index, terms)
    terms.group = [index // frames for index in terms.group]
    unit = head.embedder(torch.stack(terms.pooled))
    nothing = head_output.vote.sum() * 0

    def mean(values: list[Tensor]) -> Tensor:
        return torch.stack(values).mean() if values else nothing

    return {
        "found": mask_loss(head_output.instrument, batch.cover.float()[:, None]).mean(),
        "vote": mean(terms.vote),
        "pull": mean(terms.pull),
        "push": mean(terms.push),
        "apart": mean(terms.apart),
        "contrast": region_contrast(
            unit, torch.tensor(terms.group), torch.tensor(terms.label), 0.1
        ),
    }


def _frame_terms(
    head: InstanceHead, head_output: HeadOutput, batch: HeadFrames, index: int, terms: _Terms
) -> None:
    instance = batch.middle[index].long()
    votes = head_output.vote[index].flatten(1)  # (VOTE, n)
    means, owned = [], []
    for number in torch.unique(instance).tolist():
        inside = (instance == number).flatten()
        if not number or inside.sum() < LEAST:
            continue
        own = votes[:, inside]
        wanted = batch.pose[index, number][:, None].expand(-1, own.shape[1])
        terms.vote.append(F.smooth_l1_loss(own[:4], wanted, beta=0.05))
        means.append(own.mean(dim=1))
        owned.append(own)
        away = (own - means[-1][:, None]).norm(dim=0)
        terms.pull.append((away - CLOSE).clamp_min(0).square().mean())
        region = F.avg_pool2d(inside.float().view(1, 1, *instance.shape), 2)[0]
        terms.pooled.append(
            head.pool(head_output.texture[index], head_output.attention[index], region)[0]
        )
        terms.group.append(index)
        terms.label.append(int(batch.kind[index, number]))
    if len(means) > 1:
        gap = torch.pdist(torch.stack(means))
        terms.push.append((APART - gap).clamp_min(0).square().mean())
        terms.apart.append(_told_apart(torch.stack(means), owned))


def _told_apart(means: Tensor, owned: list[Tensor]) -> Tensor:
    """Cross entropy of whose each pixel is, by whose mean its vote is near, as `MaskFollower` asks.

    means: (K, VOTE); owned: K times (VOTE, n); returns a scalar
    """
    votes = torch.cat(owned, dim=1).T  # (n, VOTE)
    whose = torch.arange(len(means)).repeat_interleave(torch.tensor([o.shape[1] for o in owned]))
    square = (votes[:, None] - means).square().sum(dim=2)
    return F.cross_entropy(-square / (2 * RADIUS**2), whose)


def train(start: Path, out: Path, steps: int = STEPS, seed: int = 0) -> None:
    """Train a head, write the weights with it added, and its curve beside them."""
    torch.manual_seed(seed)
    weights = load_embedded(start)
    head = weights.model.instance_head or InstanceHead(weights.model.config.backbone.model_width)
    head.train().requires_grad_(True)
    mean, trained = copy.deepcopy(head), list(head.parameters())
    pool = FramePool(weights.model.backbone, POOL, seed)
    pool.refresh(PROCEDURES)
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.03, betas=(0.9, 0.98))
    history: list[dict[str, float]] = []
    for step in tqdm(range(steps), desc="part", unit="step"):
        pool.refresh(1)
        fade = 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = RATE * fade * min(1.0, (step + 1) / WARM_UP)
        losses = head_losses(head, pool.draw(PROCEDURES, FRAMES), FRAMES)
        loss = torch.stack([WEIGHTS[key] * value for key, value in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(trained, 1.0)):
            optimizer.step()
        _approach(mean, head, min(MEMORY, (step + 1) / (step + 10)))
        history.append({key: float(value.detach()) for key, value in losses.items()})
        if (step + 1) % 100 == 0 or step + 1 == steps:
            add_head(start, "instance_head", mean, out)
            out.with_suffix(".json").write_text(json.dumps(history))
            draw_curve(history, out.with_suffix(".png"))


@torch.no_grad()
def _approach(mean: InstanceHead, head: InstanceHead, memory: float) -> None:
    for old, new in zip(mean.parameters(), head.parameters(), strict=True):
        old.lerp_(new, 1 - memory)


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), *(int(value) for value in sys.argv[3:4]))

"""Fits how the instance head describes regions: linear discriminants, then episodes.

An episode is a procedure: each region is named by its likeness to the true regions of the other
clips, as a tracker names by those of annotated frames.

python -m models.training.embedding_fitting RUN/parted.safetensors RUN/described.safetensors
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from models.backbone.sam2 import Backbone
from models.instances.instance_head import EMBEDDING, HeadOutput, InstanceHead, RegionEmbedder
from models.instances.vote_grouping import group_votes
from models.method.checkpoint import add_head, load_embedded
from models.training.augmentation import recolored, reframed
from models.training.head_frames import MIXED, HeadFrames, encoded
from models.training.rendered_frames import CLIPS, PER_CLIP, render_frames

FIRST_SEED = 8_000_000
PROCEDURES = 1200
SHRINKAGE = 0.1  # of the scatter within kinds, after scaling
LEAST = 8  # pixels of a region
VARIED, RECOLORED = 0.37, 0.4  # share of procedures kept twice; of those, also in other colours
STEPS, EPISODES, RATE, DECAY = 600, 24, 1e-3, 0.05
DROPPED, NOISE = 0.3, 0.05  # of the inputs while training: share left out, standard deviation
SHARPNESS = 8.0  # of a likeness, where training starts


@dataclass(frozen=True)
class Regions:
    """n regions of one procedure.

    pooled: (n, POOLS * T), see InstanceHead.pool; label: (n,) long, the kind; clip: (n,) long
    outlined: (n,) bool. Each instrument is there twice: in its true outline, and as the head parts
    it.
    """

    pooled: Tensor
    label: Tensor
    clip: Tensor
    outlined: Tensor


def gather(
    head: InstanceHead, backbone: Backbone, seed: int, rng: np.random.Generator
) -> list[Regions]:
    """Render one procedure and keep its regions; of some once more, reframed or recoloured."""
    rendered = render_frames(backbone.config.image_size, seed, rng)
    found = [regions_of(head, encoded(backbone, rendered))]
    if rng.random() < VARIED:
        other = reframed(rendered, rng)
        other = recolored(other, rng) if rng.random() < RECOLORED else other
        found.append(regions_of(head, encoded(backbone, other)))
    return found


def regions_of(head: InstanceHead, frames: HeadFrames) -> Regions:
    """The regions of a procedure's frames, PER_CLIP of each of CLIPS."""
    with torch.no_grad():
        head_output = head(frames.features, frames.image)
        found = [_regions(head, head_output, frames, i) for i in range(CLIPS * PER_CLIP)]
    return Regions(
        *(torch.cat(each) for each in zip(*(vars(f).values() for f in found), strict=True))
    )


def _regions(
    head: InstanceHead, head_output: HeadOutput, frames: HeadFrames, index: int
) -> Regions:
    instance = frames.instance[index].long()
    masks, labels, outlined = [], [], []
    own = group_votes(
        (head_output.instrument[index, 0] > 0).numpy(), head_output.vote[index].numpy()
    )
    truths = [instance == number for number in torch.unique(instance).tolist()]
    parts = [torch.from_numpy(own.label == number + 1) for number in range(len(own.centre))]
    for number, mask in enumerate(truths + parts):
        ids = instance[mask]
        ids = ids[(ids > 0) & (ids < MIXED)]
        if len(ids) >= LEAST:
            masks.append(F.avg_pool2d(mask.float()[None, None], 2)[0])
            labels.append(int(frames.kind[index, torch.bincount(ids).argmax()]))
            outlined.append(number < len(truths))
    size = head_output.texture.shape[-1]
    region = torch.cat([torch.zeros(0, size, size), *masks])
    pooled = head.pool(head_output.texture[index], head_output.attention[index], region)
    clip = torch.full((len(labels),), index // PER_CLIP)
    return Regions(
        pooled,
        torch.tensor(labels, dtype=torch.long),
        clip,
        torch.tensor(outlined, dtype=torch.bool),
    )


def discriminants(held: list[Regions]) -> RegionEmbedder:
    """Linear discriminants: what varies between the kinds of a procedure and not within a kind.

    Each is scaled by how much it tells (Fisher 1936, several classes); nothing bent is added yet.
    """
    pooled = torch.cat([one.pooled for one in held])
    kind = torch.cat([n * MIXED + one.label for n, one in enumerate(held)])
    found = RegionEmbedder(pooled.shape[1])
    found.centre.copy_(pooled.mean(dim=0))
    found.scale.copy_(pooled.std(dim=0) + 1e-4)
    scaled = (pooled - found.centre) / found.scale
    kinds, which = torch.unique(kind, return_inverse=True)
    mean = _group_means(scaled, which)
    procedure = torch.unique(kinds // MIXED, return_inverse=True)[1]
    within = scaled - mean[which]
    between = mean - _group_means(mean, procedure)[procedure]
    scatter = within.T @ within / len(within) + SHRINKAGE * torch.eye(pooled.shape[1])
    whiten = torch.linalg.inv(torch.linalg.cholesky(scatter))
    value, vector = torch.linalg.eigh(whiten @ (between.T @ between / len(mean)) @ whiten.T)
    strength = value[-EMBEDDING:].clamp_min(0).sqrt()
    found.straight.weight.data = (vector[:, -EMBEDDING:] * strength).T @ whiten
    nn.init.zeros_(found.straight.bias)
    for weight in found.leave.parameters():
        nn.init.zeros_(weight)
    return found


def _group_means(value: Tensor, group: Tensor) -> Tensor:
    """(n, d), (n,) -> (groups, d)"""
    count = torch.bincount(group).to(value.dtype)[:, None]
    return torch.zeros(len(count), value.shape[1]).index_add_(0, group, value) / count


def train_in_episodes(
    embedder: RegionEmbedder, held: list[Regions], steps: int = STEPS, seed: int = 0
) -> None:
    """Go on from the discriminants, in place."""
    torch.manual_seed(seed)
    rng, log_sharpness = np.random.default_rng(seed), nn.Parameter(torch.tensor(SHARPNESS).log())
    optimizer = torch.optim.AdamW(
        [*embedder.parameters(), log_sharpness], lr=RATE, weight_decay=DECAY
    )
    for step in tqdm(range(steps), desc="describe", unit="step"):
        for group in optimizer.param_groups:
            fade = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = RATE * fade * min(1.0, (step + 1) / 20)
        chosen = rng.choice(len(held), size=min(EPISODES, len(held)), replace=False)
        episodes = [held[int(n)] for n in chosen]
        noisy = [e.pooled + NOISE * embedder.scale * torch.randn_like(e.pooled) for e in episodes]
        seen = [embedder(one, DROPPED) for one in noisy]
        each = [episode_loss(*pair, log_sharpness) for pair in zip(seen, episodes, strict=True)]
        loss = torch.stack(each).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def episode_loss(embedding: Tensor, regions: Regions, log_sharpness: Tensor) -> Tensor:
    """Cross-entropy of naming every region by the true ones of other clips. A scalar

    described: (n, EMBEDDING) unit length
    """
    known = regions.outlined
    alike = (log_sharpness.exp() * embedding @ embedding[known].T).exp()  # (n, k)
    apart = regions.clip[:, None] != regions.clip[known][None]
    kinds = torch.unique(regions.label[known])
    own = regions.label[known][:, None] == kinds[None]  # (k, K)
    count = apart.float() @ own.float()  # (n, K)
    mean = (alike * apart) @ own.float() / count.clamp_min(1)
    there = count > 0
    wanted = regions.label[:, None] == kinds[None]
    askable = (wanted & there).any(dim=1) & (there.sum(dim=1) > 1)
    if not bool(askable.any()):
        return embedding.sum() * 0
    shares = (mean + 1e-9).log().masked_fill(~there, -30.0).log_softmax(dim=1)
    loss: Tensor = -shares[wanted & askable[:, None]].mean()
    return loss


def fit(start: Path, out: Path, procedures: int = PROCEDURES, steps: int = STEPS) -> None:
    """Render, fit, and write the weights with the descriptions found."""
    weights, rng = load_embedded(start), np.random.default_rng(5)
    head = weights.model.instance_head
    if head is None:
        raise SystemExit(f"expected weights with an instance head, {start.name} has none")
    seeds = tqdm(range(FIRST_SEED, FIRST_SEED + procedures), desc="render", unit="procedure")
    backbone = weights.model.backbone
    held = [one for seed in seeds for one in gather(head, backbone, seed, rng)]
    head.embedder = discriminants(held)
    train_in_episodes(head.embedder, held, steps)
    add_head(start, "instance_head", head, out)


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]))

"""Fits how the parting head describes regions: linear discriminants, in closed form.

python -m models.description_fitting RUN/parted.safetensors RUN/described.safetensors
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from models.backbone import Backbone
from models.checkpoint import add_head, load_embedded
from models.instances import part_votes
from models.parting import DESCRIPTION, PartedFrame, PartingHead
from models.parting_frames import CLIPS, MIXED, PER_CLIP, PartingFrames, render_parting

FIRST_SEED = 8_000_000
PROCEDURES = 498
SHRINKAGE = 0.1  # of the scatter within kinds, after scaling
LEAST = 8  # pixels of a region


@dataclass(frozen=True)
class Regions:
    """n regions of one procedure.

    pooled: (n, POOLS * T), see PartingHead.pool; label: (n,) long, the kind
    Each instrument is there twice: in its true outline, and as the head parts it.
    """

    pooled: Tensor
    label: Tensor


def gather(head: PartingHead, backbone: Backbone, seed: int, rng: np.random.Generator) -> Regions:
    """Render one procedure and keep its regions."""
    frames = render_parting(backbone, seed, rng)
    with torch.no_grad():
        parted = head(frames.features, frames.image.float())
        found = [_regions(head, parted, frames, i) for i in range(CLIPS * PER_CLIP)]
    return Regions(
        *(torch.cat(each) for each in zip(*(vars(f).values() for f in found), strict=True))
    )


def _regions(head: PartingHead, parted: PartedFrame, frames: PartingFrames, index: int) -> Regions:
    instance = frames.instance[index].long()
    masks, labels = [], []
    own = part_votes((parted.instrument[index, 0] > 0).numpy(), parted.vote[index].numpy())
    truths = [instance == number for number in torch.unique(instance).tolist()]
    parts = [torch.from_numpy(own.label == number + 1) for number in range(len(own.centre))]
    for mask in truths + parts:
        ids = instance[mask]
        ids = ids[(ids > 0) & (ids < MIXED)]
        if len(ids) >= LEAST:
            masks.append(F.avg_pool2d(mask.float()[None, None], 2)[0])
            labels.append(int(frames.kind[index, torch.bincount(ids).argmax()]))
    size = parted.texture.shape[-1]
    region = torch.cat([torch.zeros(0, size, size), *masks])
    pooled = head.pool(parted.texture[index], parted.attention[index], region)
    return Regions(pooled, torch.tensor(labels, dtype=torch.long))


def discriminants(held: list[Regions], width: int) -> nn.Linear:
    """Linear discriminants: what varies between the kinds of a procedure and not within a kind.

    width: how many; each is scaled by how much it tells (Fisher 1936, several classes)
    """
    pooled = torch.cat([one.pooled for one in held])
    kind = torch.cat([n * MIXED + one.label for n, one in enumerate(held)])
    centre, spread = pooled.mean(dim=0), pooled.std(dim=0) + 1e-4
    scaled = (pooled - centre) / spread
    kinds, which = torch.unique(kind, return_inverse=True)
    mean = _group_means(scaled, which)
    procedure = torch.unique(kinds // MIXED, return_inverse=True)[1]
    within = scaled - mean[which]
    between = mean - _group_means(mean, procedure)[procedure]
    scatter = within.T @ within / len(within) + SHRINKAGE * torch.eye(len(centre))
    whiten = torch.linalg.inv(torch.linalg.cholesky(scatter))
    value, vector = torch.linalg.eigh(whiten @ (between.T @ between / len(mean)) @ whiten.T)
    weight = (vector[:, -width:] * value[-width:].clamp_min(0).sqrt()).T @ whiten / spread
    found = nn.Linear(len(centre), width)
    found.weight.data, found.bias.data = weight, -weight @ centre
    return found


def _group_means(value: Tensor, group: Tensor) -> Tensor:
    """(n, d), (n,) -> (groups, d)"""
    count = torch.bincount(group).to(value.dtype)[:, None]
    return torch.zeros(len(count), value.shape[1]).index_add_(0, group, value) / count


def fit(start: Path, out: Path, procedures: int = PROCEDURES) -> None:
    """Render, fit, and write the weights with the discriminants found."""
    weights, rng = load_embedded(start), np.random.default_rng(5)
    head = weights.model.parting
    if head is None:
        raise SystemExit(f"expected weights with a parting head, {start.name} has none")
    seeds = tqdm(range(FIRST_SEED, FIRST_SEED + procedures), desc="render", unit="procedure")
    held = [gather(head, weights.model.backbone, seed, rng) for seed in seeds]
    head.discriminants = discriminants(held, DESCRIPTION)
    add_head(start, "parting", head, out)


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]))

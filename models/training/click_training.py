"""Trains the head for clicks on phantoms, on a frozen trunk and instance head, and adds it to them.

python -m models.training.click_training RUN/parted.safetensors RUN/nano.safetensors [STEPS]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models.instances.click_head import ClickHead
from models.instances.clicks import click_maps, next_click
from models.instances.instance_head import HeadOutput
from models.method.checkpoint import add_head, load_embedded
from models.training.head_frames import MIXED, FramePool, HeadFrames
from models.training.rendered_frames import CLIPS, PER_CLIP
from models.types import Click

STEPS, PROCEDURES, FRAMES, POOL, ROUNDS = 500, 4, 4, 200, 3
RATE, LEAST, SEED = 3e-3, 20, 3  # LEAST: pixels of an instrument that is clicked on


def train(start: Path, out: Path, steps: int = STEPS) -> None:
    """Train the head with simulated clicks and write the weights with it added."""
    torch.manual_seed(SEED)
    weights = load_embedded(start)
    instance_head = weights.model.instance_head
    if instance_head is None:
        raise SystemExit(f"expected weights with an instance head, {start.name} has none")
    head, rng = ClickHead(), np.random.default_rng(SEED)
    pool = FramePool(weights.model.backbone, POOL, SEED)
    pool.refresh(PROCEDURES)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.01)
    bar = tqdm(range(steps), desc="click", unit="step")
    for step in bar:
        pool.refresh(1 if step % 2 else 0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        batch = pool.draw(PROCEDURES, min(FRAMES, CLIPS * PER_CLIP), varied=False)
        with torch.no_grad():
            head_output = instance_head(batch.features, batch.image)
        loss = click_loss(head, head_output, batch, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    add_head(start, "click_head", head, out)


def click_loss(
    head: ClickHead, head_output: HeadOutput, batch: HeadFrames, rng: np.random.Generator
) -> Tensor:
    """One instrument of each frame, clicked on and corrected for some rounds. A scalar"""
    index, truth, clicks = _targets(batch, rng)
    wanted = torch.from_numpy(np.stack(truth)).float()[:, None]
    known = (batch.instance[index] != MIXED).float()[:, None]
    total = torch.zeros(())
    for _ in range(ROUNDS):
        maps = torch.stack(
            [click_maps(head_output, i, c) for i, c in zip(index, clicks, strict=True)]
        )
        logits = head(maps)
        total = total + _masked_loss(logits, wanted, known)
        found = (logits.detach()[:, 0] > 0).numpy() & (known[:, 0] > 0).numpy()
        for number, own in enumerate(clicks):
            correction = next_click(found[number], truth[number])
            if correction is not None:
                own.append(correction)
    return total / ROUNDS


def _targets(
    batch: HeadFrames, rng: np.random.Generator
) -> tuple[list[int], list[np.ndarray], list[list[Click]]]:
    index, truth, clicks = [], [], []
    for number, instance in enumerate(batch.instance.numpy()):
        area = np.bincount(instance.ravel(), minlength=256)
        area[[0, MIXED]] = 0
        ids = np.flatnonzero(area >= LEAST)
        if not len(ids):
            continue
        mask = instance == rng.choice(ids)
        index.append(number)
        truth.append(mask)
        clicks.append([random_click(mask, rng)])
    return index, truth, clicks


def random_click(mask: np.ndarray, rng: np.random.Generator) -> Click:
    """Anywhere on it. mask: (H, W) bool"""
    rows, columns = np.nonzero(mask)
    chosen = int(rng.integers(len(rows)))
    height, width = mask.shape
    return Click((columns[chosen] + 0.5) / width, (rows[chosen] + 0.5) / height)


def _masked_loss(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy and Dice on known pixels. All (B, 1, H, W)"""
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, known)
    prob = logits.sigmoid() * known
    overlap = (prob * wanted).sum(dim=(1, 2, 3))
    sizes = prob.sum(dim=(1, 2, 3)) + wanted.sum(dim=(1, 2, 3))
    return 4 * entropy + (1 - (2 * overlap + 1) / (sizes + 1)).mean()


if __name__ == "__main__":
    train(Path(sys.argv[1]), Path(sys.argv[2]), *(int(value) for value in sys.argv[3:4]))

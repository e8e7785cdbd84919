"""What one annotated frame teaches the instance head about the picture at hand.

The head errs alike in the frames of a clip: a shaft in shadow that it misses in the first frame it
misses in the others. So where a frame is followed, a logistic regression on the head's textures,
with the head's own logits as its offset and a prior that holds it to them, corrects its opinion of
what is instrument. Not in the paper; docs/method.md has what it is worth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.instances.instance_head import HeadOutput, twice

PRIOR = 0.05  # of the squared weights, beside the mean over the pixels
STEPS, LONGEST = 8, 3.0  # Newton's, and the norm of one
MOST = 3.0  # logits that are added or taken


def fit_foreground(head_output: HeadOutput, shown: Tensor, counted: Tensor) -> Tensor:
    """Weights of the textures and a constant, (T + 1,).

    parted: of one frame; shown: (S, S) 0 or 1, what is instrument in it; counted: (S, S), 0 where
    nobody knows
    """
    logit = head_output.instrument[0, 0].flatten()
    both = torch.stack([shown, counted]).float()[None]
    truth, known = F.adaptive_avg_pool2d(both, head_output.instrument.shape[-1])[0].flatten(1)
    texture = twice(head_output.texture)[0].flatten(1).T  # (n, T)
    mean, spread = texture.mean(dim=0), texture.std(dim=0) + 1e-3
    seen = torch.cat([(texture - mean) / spread, torch.ones(len(texture), 1)], dim=1)
    prior = PRIOR * torch.eye(seen.shape[1])
    weight = torch.zeros(seen.shape[1])
    for _ in range(STEPS):
        likely = (logit + seen @ weight).sigmoid()
        gradient = seen.T @ (known * (likely - truth)) / len(seen) + prior @ weight
        curve = (known * (likely * (1 - likely)).clamp_min(1e-4))[:, None] / len(seen)
        step = torch.linalg.solve((seen * curve).T @ seen + prior, gradient)
        weight = weight - step * min(1.0, LONGEST / float(step.norm().clamp_min(1e-9)))
    straight = weight[:-1] / spread
    return torch.cat([straight, (weight[-1] - straight @ mean)[None]])


def foreground_shift(weight: Tensor, texture: Tensor) -> Tensor:
    """What to add to the head's logits. weight: (T + 1,); texture: (T, 2h, 2w) -> (4h, 4w)"""
    shift = torch.einsum("t,thw->hw", weight[:-1], texture) + weight[-1]
    return twice(shift[None, None])[0, 0].clamp(-MOST, MOST)

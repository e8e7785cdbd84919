"""Clicks: which pixels belong to the instrument that somebody points at?

A small head on what the instance head says of a frame: how far every pixel's vote is from the votes
at the clicks, how alike it looks, how near it is, and whether it is instrument at all. So a click
takes the whole instrument that it lies on, and later clicks, on it or off it, correct the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.instances.click_head import NEAR
from models.instances.instance_head import MIDDLE, HeadOutput, twice
from models.types import Click

FARTHEST = 2.0  # votes farther apart than this all count the same


def click_maps(head_output: HeadOutput, index: int, clicks: Sequence[Click]) -> Tensor:
    """What the click head sees of frame `index`. (MAPS, 4h, 4w)"""
    vote = head_output.vote[index]
    height, width = vote.shape[-2:]
    middle = F.normalize(head_output.texture[index, -6 - MIDDLE : -6], dim=0)
    maps = [head_output.instrument[index, 0].clamp(-10, 10) / 5]
    for on in (True, False):
        chosen = [c for c in clicks if c.on is on]
        far, alike = vote.new_full((height, width), FARTHEST), vote.new_full((height, width), -1.0)
        near = vote.new_zeros(len(NEAR), height, width)
        for click in chosen:
            row, column = (
                min(int(click.y * height), height - 1),
                min(int(click.x * width), width - 1),
            )
            far = torch.minimum(far, (vote - vote[:, row, column, None, None]).norm(dim=0))
            same = torch.einsum("chw,c->hw", middle, middle[:, row // 2, column // 2])
            alike = torch.maximum(alike, twice(same[None, None])[0, 0])
            near = torch.maximum(near, _neighbourhoods(vote, click))
        maps += [far, alike, *near]
    return torch.stack(maps)


def _neighbourhoods(like: Tensor, click: Click) -> Tensor:
    """One at the click, falling off with each radius. (len(NEAR), H, W)"""
    height, width = like.shape[-2:]
    x = (torch.arange(width, device=like.device) + 0.5) / width - click.x
    y = (torch.arange(height, device=like.device) + 0.5) / height - click.y
    square = x.square()[None] + y.square()[:, None]
    return torch.stack([(-square / (2 * radius**2)).exp() for radius in NEAR])


def next_click(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> Click | None:
    """Where somebody who knows the truth would click next: the middle of the largest error.

    found, truth: (H, W); None if there is no error.
    """
    wrong = (found != truth).astype(np.uint8)
    count, label, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    inside = np.pad((label == largest).astype(np.uint8), 1)
    deep = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    row, column = np.unravel_index(int(deep.argmax()), deep.shape)
    height, width = truth.shape
    return Click((column + 0.5) / width, (row + 0.5) / height, bool(truth[row, column]))

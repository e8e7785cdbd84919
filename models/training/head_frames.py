"""Training frames of the heads through the frozen trunk, drawn from a pool."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.sam2 import Backbone, ImageFeatures
from models.training.augmentation import CROWDED, recolored, reframed
from models.training.precision import training_precision
from models.training.rendered_frames import (
    CLIPS,
    FIRST_SEED,
    PER_CLIP,
    RenderedFrames,
    joined,
    render_frames,
)
from models.types import UInt8Array

MIXED = 255  # in an instance map at a quarter of the size: a block that is not of one kind
VARIED = 0.65  # share of draws in other colours, and share in another framing
EMPTY = 0.5  # share of draws in which one frame gives way to one without an instrument


@dataclass(frozen=True)
class HeadFrames:
    """F frames through the trunk.

    stride16, stride8, stride4: its features; image: (F, 3, S, S) normalised
    instance: (F, S/4, S/4) uint8 ids, 0 background, or MIXED; middle: in the middle of each block
    cover: (F, S/4, S/4) share of instrument
    pose: (F, 256, 4) what an instance's pixels should vote for; kind: (F, 256); both by instance id
    """

    stride16: Tensor
    stride8: Tensor
    stride4: Tensor
    image: Tensor
    instance: Tensor
    middle: Tensor
    cover: Tensor
    pose: Tensor
    kind: Tensor

    @property
    def features(self) -> ImageFeatures:
        """As the trunk gave them."""
        return ImageFeatures(self.stride16, self.stride8, self.stride4)


@torch.no_grad()
def encoded(backbone: Backbone, frames: RenderedFrames) -> HeadFrames:
    """Through the trunk."""
    normal = backbone.normalize(frames.image.float())
    with training_precision():
        features = backbone.encode_image(normal)
    levels = (features.stride16.float(), features.stride8.float(), features.stride4.float())
    small, cover = _shrunk(np.asarray(frames.instance.numpy(), np.uint8))
    middle = frames.instance[:, 2::4, 2::4]
    return HeadFrames(*levels, normal, small, middle, cover, frames.pose, frames.kind)


def _shrunk(instance: UInt8Array) -> tuple[Tensor, Tensor]:
    """(F, S, S) -> instance map and share of instrument, at a quarter of the size."""
    full = torch.from_numpy(instance).float()[:, None]
    cover = F.avg_pool2d((full > 0).float(), 4)[:, 0]
    low, high = -F.max_pool2d(-full, 4), F.max_pool2d(full, 4)
    return torch.where(low == high, high, float(MIXED))[:, 0].to(torch.uint8), cover.half()


class FramePool:
    """A ring of procedures; bounded: `capacity` of them, of 8 frames, 2 MB each."""

    def __init__(self, backbone: Backbone, capacity: int, seed: int) -> None:
        self._backbone, self._capacity = backbone, capacity
        self._rng = np.random.default_rng([seed, 17])
        self._next = FIRST_SEED + seed * 100_000
        self._held: list[RenderedFrames] = []
        self._empty: deque[RenderedFrames] = deque(maxlen=capacity)  # those that have such frames

    def refresh(self, count: int) -> None:
        """Render `count` new procedures; the oldest give way."""
        size = self._backbone.config.image_size
        for _ in range(count):
            if len(self._held) == self._capacity:
                self._held.pop(0)
            rendered = render_frames(size, self._next, self._rng)
            self._held.append(rendered)
            empty = rendered.without_instrument()
            if len(empty.image):
                self._empty.append(empty)
            self._next += 1

    def draw(self, procedures: int, frames: int, *, varied: bool = True) -> HeadFrames:
        """Some frames of each of some procedures, procedure by procedure.

        varied: some procedures in other colours and framings, some with a frame of another
        procedure that shows no instrument in the place of their last
        """
        picked = []
        for index in self._rng.choice(len(self._held), size=procedures, replace=False):
            which = self._rng.choice(CLIPS * PER_CLIP, size=frames, replace=False)
            some = self._held[int(index)].frames(torch.from_numpy(which))
            picked.append(encoded(self._backbone, self._varied(some) if varied else some))
        return joined(picked)

    def _varied(self, some: RenderedFrames) -> RenderedFrames:
        rng = self._rng
        if self._empty and rng.random() < EMPTY:
            empty = self._empty[int(rng.integers(len(self._empty)))]
            one = empty.frames(torch.from_numpy(rng.choice(len(empty.image), size=1)))
            kept = some.frames(torch.arange(len(some.image) - 1))
            some = joined([kept, recolored(one, rng, banded=CROWDED)])
        for change in (recolored, reframed):
            some = change(some, rng) if rng.random() < VARIED else some
        return some

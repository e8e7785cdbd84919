"""Training material of the heads: phantom frames with the instruments that are in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.instances.instance_head import DIRECTION
from models.phantom import Clip, Procedure, Shift, tissue_lit_tray
from models.phantom.instruments import Pose
from models.training.episodes import TRAINING_SEED, WIDE
from models.types import UInt8Array

Frames = TypeVar("Frames")  # a dataclass of tensors whose first dimension is the frame

FIRST_SEED = TRAINING_SEED + 5_000_000  # beyond the procedures of pretraining
CLIPS, PER_CLIP = 4, 2
SHIFTED = 0.15  # share of clips in which light and smoke change
WARM, WARMEST = 0.4, (0.75, 1.0)  # share of procedures, and of clips; what is left of green
REACH = 0.35  # a shaft that ends farther outside the picture than this votes for this far


@dataclass(frozen=True)
class RenderedFrames:
    """F frames of one procedure.

    image: (F, 3, S, S) uint8 RGB; instance: (F, S, S) uint8 ids, 0 background
    pose: (F, 256, 4) what an instance's pixels should vote for; kind: (F, 256); both by instance id
    """

    image: Tensor
    instance: Tensor
    pose: Tensor
    kind: Tensor

    def frames(self, index: Tensor) -> RenderedFrames:
        """Only these. index: (n,) long"""
        return RenderedFrames(*(value[index] for value in vars(self).values()))

    def without_instrument(self) -> RenderedFrames:
        """Only the frames that show none."""
        return self.frames(torch.nonzero(self.instance.flatten(1).amax(dim=1) == 0)[:, 0])


def joined(each: Sequence[Frames]) -> Frames:
    """Frames of one kind, one after the other."""
    columns = zip(*(vars(one).values() for one in each), strict=True)
    return type(each[0])(*(torch.cat(values) for values in columns))


def render_frames(size: int, seed: int, rng: np.random.Generator) -> RenderedFrames:
    """Two moments of each of four clips, those where instruments meet preferred."""
    procedure = _procedure(seed, rng)
    images, instances, poses, kinds = [], [], [], []
    for index in rng.choice(12, size=CLIPS, replace=False):
        clip = _clip(procedure, int(index), size, rng)
        warmth = rng.uniform(*WARMEST) if rng.random() < WARM else 1.0
        for t in _moments(clip, rng):
            frame = clip.render(t)
            picture = _warmed(frame.image_rgb, warmth)
            images.append(cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR))
            nearest = cv2.INTER_NEAREST
            instances.append(cv2.resize(frame.instance_mask, (size, size), interpolation=nearest))
            poses.append(_votes(clip, t))
            kinds.append(_kinds(clip))
    image, instance = (torch.from_numpy(np.stack(each)) for each in (images, instances))
    return RenderedFrames(
        image.permute(0, 3, 1, 2), instance, torch.stack(poses), torch.stack(kinds)
    )


def _procedure(seed: int, rng: np.random.Generator) -> Procedure:
    """Some have their instruments lit by the tissue, as the phantom's own never are so much."""
    if rng.random() >= WARM:
        return Procedure(seed)
    return Procedure(seed, tissue_lit_tray(seed))


def _warmed(image_rgb: UInt8Array, left: float) -> UInt8Array:
    """With only this share of its green, and a little less of its blue."""
    return np.asarray(image_rgb * np.array([1.0, left, left**1.3]), np.uint8)


def _clip(procedure: Procedure, index: int, size: int, rng: np.random.Generator) -> Clip:
    """Every other clip is a wide picture resized to the square, as real ones are."""
    wide = (round(WIDE[0] * size / 256), round(WIDE[1] * size / 256))
    shift = Shift(at_s=float(rng.uniform(0, 8))) if rng.random() < SHIFTED else None
    return procedure.clip(index, size=wide if index % 2 else (size, size), shift=shift)


def _moments(clip: Clip, rng: np.random.Generator) -> list[float]:
    """Of eight moments, one where instruments meet, if there is one, and others at random."""
    times = [float(t) for t in rng.uniform(0, 8, 8)]
    meeting = [t for t in times if _meet(clip, t)][:1]
    return (meeting + [t for t in times if t not in meeting])[:PER_CLIP]


def _meet(clip: Clip, t: float) -> bool:
    """Do two instruments cross or touch in the picture, as their axes and widths say?"""
    poses = list(clip.poses(t).values())
    axes = [_axis(pose, max(clip.size)) for pose in poses]
    for number, one in enumerate(axes):
        inside = ((one >= 0) & (one < clip.size[::-1])).all(axis=1)
        for other in range(number + 1, len(axes)):
            gap = np.hypot(*(one[inside][:, None] - axes[other][None]).transpose(2, 0, 1))
            if gap.min(initial=np.inf) < 0.6 * (poses[number].width + poses[other].width):
                return True
    return False


def _axis(pose: Pose, length: int) -> npt.NDArray[np.float64]:
    """Points along an instrument, from its tip backwards. (40, 2)"""
    along = np.array([math.cos(pose.angle), math.sin(pose.angle)])
    back = np.linspace(-2.5 * pose.width, 1.2 * length, 40)[:, None]
    return np.asarray(pose.base - back * along)


def _votes(clip: Clip, t: float) -> Tensor:
    """(256, 4) by instance id, in the square picture."""
    height, width = clip.size
    votes = torch.zeros(256, 4)
    for number, pose in clip.poses(t).items():
        x, y = np.clip(pose.base / np.array([width, height]), -REACH, 1 + REACH)
        along = np.array([math.cos(pose.angle) / width, math.sin(pose.angle) / height])
        cosine, sine = DIRECTION * along / np.hypot(*along)
        votes[number] = torch.tensor([x, y, cosine, sine])
    return votes


def _kinds(clip: Clip) -> Tensor:
    kinds = torch.zeros(256, dtype=torch.long)
    for instance in clip.instances:
        kinds[instance.instance_id] = instance.class_id
    return kinds

"""Training material of the parting head: phantom frames through the frozen trunk, in a pool."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone import Backbone, ImageFeatures
from models.episodes import TRAINING_SEED, WIDE
from models.parting import DIRECTION
from models.phantom import Clip, Procedure, Shift, tissue_lit_tray
from models.phantom.instruments import Pose
from models.precision import training_precision
from models.types import UInt8Array

SEED_OFFSET = 5_000_000  # beyond the procedures of pretraining
CLIPS, PER_CLIP = 4, 2
SHIFTED = 0.15  # share of clips in which light and smoke change
WARM, WARMEST = 0.4, (0.75, 1.0)  # share of procedures, and of clips; what is left of green
REACH = 0.35  # a shaft that ends farther outside the picture than this votes for this far
MIXED = 255  # in an instance map at a quarter of the size: a block that is not of one kind


@dataclass(frozen=True)
class PartingFrames:
    """F frames of one procedure through the trunk.

    stride16, stride8, stride4, image: half precision; image normalised, (F, 3, S, S)
    instance: (F, S/4, S/4) uint8 ids, 0 background, or MIXED; cover: (F, S/4, S/4) of instrument
    pose: (F, 256, 4) what an instance's pixels should vote for; kind: (F, 256); both by instance id
    """

    stride16: Tensor
    stride8: Tensor
    stride4: Tensor
    image: Tensor
    instance: Tensor
    cover: Tensor
    pose: Tensor
    kind: Tensor

    @property
    def features(self) -> ImageFeatures:
        """As the trunk gave them."""
        return ImageFeatures(self.stride16.float(), self.stride8.float(), self.stride4.float())

    def frames(self, index: Tensor) -> PartingFrames:
        """Only these. index: (n,) long"""
        return PartingFrames(*(value[index] for value in vars(self).values()))

    @classmethod
    def joined(cls, each: list[PartingFrames]) -> PartingFrames:
        """The frames of several procedures."""
        columns = zip(*(vars(one).values() for one in each), strict=True)
        return cls(*(torch.cat(values) for values in columns))


def render_parting(backbone: Backbone, seed: int, rng: np.random.Generator) -> PartingFrames:
    """Two moments of each of four clips, those where instruments meet preferred."""
    procedure, size = _procedure(seed, rng), backbone.config.image_size
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
    image = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    normal = backbone.normalize(image)
    with torch.no_grad(), training_precision():
        features = backbone.encode_image(normal)
    levels = (features.stride16.half(), features.stride8.half(), features.stride4.half())
    small, cover = _shrunk(np.asarray(np.stack(instances), np.uint8))
    return PartingFrames(
        *levels, normal.half(), small, cover, torch.stack(poses), torch.stack(kinds)
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
    """Every other clip is a wide picture squeezed to the square, as real ones are."""
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


def _shrunk(instance: UInt8Array) -> tuple[Tensor, Tensor]:
    """(F, S, S) -> instance map and share of instrument, at a quarter of the size."""
    full = torch.from_numpy(instance).float()[:, None]
    cover = F.avg_pool2d((full > 0).float(), 4)[:, 0]
    low, high = -F.max_pool2d(-full, 4), F.max_pool2d(full, 4)
    return torch.where(low == high, high, float(MIXED))[:, 0].to(torch.uint8), cover.half()


class FeaturePool:
    """A ring of procedures; bounded: `capacity` of them, of 8 frames, 5 MB each."""

    def __init__(self, backbone: Backbone, capacity: int, seed: int) -> None:
        self._backbone, self._capacity = backbone, capacity
        self._rng = np.random.default_rng([seed, 17])
        self._next = TRAINING_SEED + SEED_OFFSET + seed * 100_000
        self._held: list[PartingFrames] = []

    def refresh(self, count: int) -> None:
        """Render and encode `count` new procedures; the oldest give way."""
        for _ in range(count):
            if len(self._held) == self._capacity:
                self._held.pop(0)
            self._held.append(render_parting(self._backbone, self._next, self._rng))
            self._next += 1

    def draw(self, procedures: int, frames: int) -> PartingFrames:
        """Some frames of each of some procedures, procedure by procedure."""
        picked = []
        for index in self._rng.choice(len(self._held), size=procedures, replace=False):
            which = self._rng.choice(CLIPS * PER_CLIP, size=frames, replace=False)
            picked.append(self._held[int(index)].frames(torch.from_numpy(which)))
        return PartingFrames.joined(picked)

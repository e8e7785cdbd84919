"""Annotated frames through the frozen network, once; everything that fitting does starts here.

The mapping and naming statistics are kept per frame: they are additive, so that "all frames but
these" is a subtraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.memory_bank import Entries
from models.backbone.sam2 import ImageFeatures
from models.backbone.token_color import token_color
from models.fitting.annotated import AnnotatedFrames
from models.instances.exemplars import Exemplars
from models.instances.instance_classifier import frame_exemplars
from models.learner.mapping_network import Statistics, describe_tokens, token_weights
from models.learner.pixel_classifier import fit_pixel_names, instrument_features, pixel_sample
from models.method.model import OflSam2


@dataclass(frozen=True)
class EncodedFrames:
    """The annotated frames through the frozen network; rows are class-major, (C N)."""

    features: ImageFeatures
    token_features: Tensor
    entries: Entries
    statistics: Statistics  # rows C * N, one frame each
    present: Tensor  # (C, N)
    mask: Tensor  # (C, N, S, S)
    counted: Tensor  # (N, S, S), see AnnotatedFrames
    image: Tensor  # (N, 3, S, S) normalised
    naming: list[Statistics]  # N of one row
    exemplars: list[Exemplars]  # N, or none where the network has no instance head
    clip: tuple[int, ...]  # N, see AnnotatedFrames


@torch.no_grad()
def encode_frames(model: OflSam2, frames: AnnotatedFrames) -> EncodedFrames:
    """Frame by frame, all classes of a frame in one batch; what is kept grows with C N."""
    backbone, learner = model.backbone, model.config.learner
    mask, counted = torch.from_numpy(frames.mask), torch.from_numpy(frames.counted)
    rows = len(mask)
    levels: list[ImageFeatures] = []
    images, naming = [], []
    exemplars: list[Exemplars] = []
    token_features, memories, pointers, statistics = [], [], [], []
    for number in range(len(frames.image)):
        pixels = torch.from_numpy(frames.image[number]).permute(2, 0, 1)[None].float()
        image = backbone.normalize(pixels)
        features = backbone.encode_image(image)
        color = token_color(image, backbone.config.grid)
        phi = describe_tokens(features.stride16, color, learner)
        each = features.rows(torch.zeros(rows, dtype=torch.long))
        shown = mask[:, number].float()
        entries = model.annotate(each, shown[:, None])
        target = model.target(each.stride16, entries)
        weight = token_weights(shown, backbone.config.grid, counted[number].float())[:, None]
        levels.append(features)
        images.append(image)
        naming.append(_naming_of(features, color, shown))
        if model.instance_head is not None:
            exemplars.append(
                frame_exemplars(model.instance_head, model.instance_head(features, image), shown)
            )
        token_features.append(phi)
        memories.append(entries.memory)
        pointers.append(entries.pointer)
        statistics.append(Statistics.of(phi.flatten(2)[None], target.flatten(2)[:, None], weight))
    return EncodedFrames(
        features=ImageFeatures(
            torch.cat([f.stride16 for f in levels]),
            torch.cat([f.stride8 for f in levels]),
            torch.cat([f.stride4 for f in levels]),
        ),
        token_features=torch.cat(token_features),
        entries=Entries(torch.stack(memories, dim=1), torch.stack(pointers, dim=1)),
        statistics=_stack(statistics),
        present=mask.flatten(2).amax(dim=2) > 0,
        mask=mask,
        counted=counted,
        image=torch.cat(images),
        naming=naming,
        exemplars=exemplars,
        clip=frames.clip,
    )


def _naming_of(features: ImageFeatures, color: Tensor, mask: Tensor) -> Statistics:
    """Naming statistics of one frame. color: by token_color; mask: (C, S, S)"""
    cover = F.adaptive_avg_pool2d(mask[None], features.stride16.shape[-1])[0]
    whole = cover.sum(dim=0, keepdim=True).clamp_max(1.0)[None]
    return pixel_sample(instrument_features(features.stride16, color, whole), cover).statistics()


def _stack(per_frame: list[Statistics]) -> Statistics:
    """N statistics of C rows -> one of C * N rows, class-major."""

    def stack(pick: Callable[[Statistics], Tensor]) -> Tensor:
        return torch.stack([pick(s) for s in per_frame], dim=1).flatten(0, 1)

    return Statistics(
        stack(lambda s: s.gram),
        stack(lambda s: s.cross),
        stack(lambda s: s.energy),
        stack(lambda s: s.weight),
    )


def name_indicator(encoded: EncodedFrames, without: Sequence[int]) -> Tensor | None:
    """Pixel names from all frames but some; None where there is only one class."""
    statistics = name_statistics(encoded, without)
    return None if statistics is None else fit_pixel_names(statistics)


def name_statistics(encoded: EncodedFrames, without: Sequence[int] = ()) -> Statistics | None:
    """What pixel names are fitted to; None where there is only one class."""
    kept = [s for n, s in enumerate(encoded.naming) if n not in without]
    if len(encoded.present) < 2 or not kept:
        return None
    total = kept[0]
    for one in kept[1:]:
        total = total.plus(one)
    return total


def total_statistics(encoded: EncodedFrames) -> Statistics:
    """Sum over frames, C rows."""
    shape = encoded.present.shape
    each = encoded.statistics
    return Statistics(
        each.gram.unflatten(0, shape).sum(1),
        each.cross.unflatten(0, shape).sum(1),
        each.energy.unflatten(0, shape).sum(1),
        each.weight.unflatten(0, shape).sum(1),
    )


def statistics_without(
    encoded: EncodedFrames, total: Statistics, frames: Sequence[int]
) -> Statistics:
    """Sum over the other frames, C rows, weight one. total: by total_statistics"""
    for frame in frames:
        total = total.minus(frame_statistics(encoded, frame))
    return total.normalized()


def frame_statistics(encoded: EncodedFrames, frame: int) -> Statistics:
    """Of one frame, C rows."""
    rows, frames = encoded.present.shape
    return encoded.statistics.rows(torch.arange(rows) * frames + frame)


def frame_features(encoded: EncodedFrames, frame: int) -> ImageFeatures:
    return encoded.features.rows(torch.tensor([frame]))

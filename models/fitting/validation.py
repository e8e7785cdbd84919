"""Frames left out: what the tracker would see of them, how well, and how a profile predicts.

Everything that a frame must not teach itself is measured by leaving that frame out, and with it the
other frames of its clip, which show nearly the same: a clip that a user will segment was not
annotated. T without some frames is a subtraction and a solve away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import BankShape, MemoryBank
from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.backbone.token_color import token_color
from models.config import BackboneConfig, FitConfig, MemoryConfig
from models.fitting.encoded import (
    EncodedFrames,
    frame_features,
    name_indicator,
    statistics_without,
    total_statistics,
)
from models.instances.exemplars import Exemplars
from models.instances.instance_classifier import InstanceClassifier, joined
from models.instances.small_regions import STRICT, rule_for
from models.learner.mapping_network import apply_mapper, ridge_solution
from models.learner.pixel_classifier import WEIGHTS as PIXEL_WEIGHTS
from models.learner.pixel_classifier import PixelClassifier, classify_pixels
from models.method.model import OflSam2
from models.method.profile import Mode, SupportSet, pool_features

RIDGES = (0.3, 1.0, 3.0, 10.0)  # times the ridge that pretraining found
HEAD_WEIGHTS = (0.5, 0.0)  # beside the memory path; the head alone, unless one is clearly better
CLEARLY = 0.05  # in DSC: a few held-out frames say no more about it
TRACKS_GAIN = 0.02  # in DSC, of naming instances over pixels in video; single frames do not show it
OBJECT_OFFSETS = (0.0, 1.5, 3.0)  # of the object score
NOT_FOUND = -30.0  # a logit that no loss and no gate takes notice of
UNTESTED_OFFSET = 3.0  # where there are too few frames to hold any out


@dataclass(frozen=True)
class HeldOut:
    """A frame that is left out, and all frames that are left out with it, itself among them."""

    frame: int
    without: tuple[int, ...]


def held_out_frames(encoded: EncodedFrames, config: FitConfig) -> list[HeldOut]:
    """Frames to leave out in turn, each with its clip, or alone where a class is in no other clip.

    Without them every class must still be visible.
    """
    possible = []
    for frame, clip in enumerate(encoded.clip):
        same = tuple(n for n, other in enumerate(encoded.clip) if other == clip)
        for without in (same, (frame,)):
            others = [n for n in range(len(encoded.clip)) if n not in without]
            if bool(encoded.present[:, others].any(dim=1).all()):
                possible.append(HeldOut(frame, without))
                break
    chosen = torch.randperm(len(possible))[: config.held_out].tolist()
    return [possible[n] for n in sorted(chosen)]


@torch.no_grad()
def choose_ridge(
    model: OflSam2, encoded: EncodedFrames, held_out: list[HeldOut], base: float
) -> float:
    """The ridge whose mapping alone segments held-out frames best."""
    if len(held_out) < 2:
        return base
    total = total_statistics(encoded)
    some = held_out[:12]
    known = [statistics_without(encoded, total, out.without) for out in some]
    scores = []
    for factor in RIDGES:
        found = []
        for out, others in zip(some, known, strict=True):
            frame = out.frame
            tau = ridge_solution(others, base * factor)
            mapped = apply_mapper(tau, encoded.token_features[frame : frame + 1])
            decoded = model.backbone.decode_masks(mapped, frame_features(encoded, frame))
            prediction = where_counted(Prediction.of(decoded), encoded.counted[frame])
            found.append(soft_dsc(prediction, encoded.mask[:, frame].float()).mean())
        scores.append(torch.stack(found).mean())
    return base * RIDGES[int(torch.stack(scores).argmax())]


@dataclass(frozen=True)
class LeftOut:
    """Held-out frames as the tracker would see them, before fusion.

    attended, mapped: (n, C, D, h, w); mask: (n, C, S, S); counted: (n, S, S); features, image,
    indicator and exemplars (both from the other frames): of n frames
    instrument: logits of an adapted head that has not seen the frame, see adoption.py; None: there
    is none
    """

    attended: Tensor
    mapped: Tensor
    mask: Tensor
    counted: Tensor
    features: list[ImageFeatures]
    image: list[Tensor]
    indicator: list[Tensor | None]
    exemplars: list[Exemplars]
    instrument: list[Tensor] | None = None


@torch.no_grad()
def leave_one_out(
    model: OflSam2, encoded: EncodedFrames, held_out: list[HeldOut], ridge: float
) -> LeftOut:
    """The held-out frames as the tracker would see them, knowing only the frames they leave."""
    total, config = total_statistics(encoded), model.config
    attended, mapped, features = [], [], []
    image, indicator, exemplars = [], [], []
    for out in held_out:
        frame = out.frame
        tau = ridge_solution(statistics_without(encoded, total, out.without), ridge)
        seen = frame_features(encoded, frame)
        bank = _bank_without(encoded, out, config.backbone, config.memory)
        attended.append(model.backbone.attend_memory(seen.stride16, bank))
        mapped.append(apply_mapper(tau, encoded.token_features[frame : frame + 1]))
        features.append(seen)
        image.append(encoded.image[frame : frame + 1])
        indicator.append(name_indicator(encoded, out.without))
        exemplars += _references_without(encoded, out.without)
    if not held_out:
        empty = torch.zeros(0)
        return LeftOut(empty, empty, empty, empty, [], [], [], [])
    frames = [out.frame for out in held_out]
    return LeftOut(
        attended=torch.stack(attended),
        mapped=torch.stack(mapped),
        mask=encoded.mask[:, frames].transpose(0, 1).float(),
        counted=encoded.counted[frames],
        features=features,
        image=image,
        indicator=indicator,
        exemplars=exemplars,
    )


def _references_without(encoded: EncodedFrames, frames: Sequence[int]) -> list[Exemplars]:
    others = [one for number, one in enumerate(encoded.exemplars) if number not in frames]
    return [joined(others)] if others else []


def _bank_without(
    encoded: EncodedFrames, out: HeldOut, backbone: BackboneConfig, memory: MemoryConfig
) -> BankTensors:
    """The bank a stream would start with on this frame, from the other frames' memories."""
    rows = len(encoded.present)
    bank = MemoryBank(BankShape(rows, memory.support, 0, backbone), memory.max_pointer_distance)
    present = encoded.present.clone()
    present[:, list(out.without)] = False
    pooled = pool_features(encoded.features.stride16)
    support = SupportSet(encoded.entries, present, pooled)
    for row in range(rows):
        bank.set_support(row, support.most_similar(row, pooled[out.frame], memory.support))
    return bank.tensors(0)


@dataclass(frozen=True)
class Inference:
    """How a profile predicts, see there; what held-out frames choose."""

    mode: Mode = Mode.PIXELS
    pixel_weight: float = 0.0
    object_offset: float = 0.0
    head_weight: float = 1.0


@torch.no_grad()
def predict_left_out(
    model: OflSam2, left_out: LeftOut, frame: int, inference: Inference
) -> Prediction:
    """A held-out frame as the tracker would see it, nothing where pixels are ignored."""
    prediction = _predict_left_out(model, left_out, frame, inference)
    return where_counted(prediction, left_out.counted[frame])


def _predict_left_out(
    model: OflSam2, left_out: LeftOut, frame: int, inference: Inference
) -> Prediction:
    features, image = left_out.features[frame], left_out.image[frame]
    rows = len(left_out.mask[frame])
    if inference.mode.instances and model.instance_head is not None:
        head, exemplars = model.instance_head, left_out.exemplars[frame]
        head_output, rule = head(features, image), STRICT
        if left_out.instrument is not None:
            head_output = replace(head_output, instrument=left_out.instrument[frame])
            rule = rule_for(rows, adapted=True)
        classifier = InstanceClassifier(head, exemplars, rows, inference.head_weight, rule)
        if inference.mode is Mode.HEAD:
            return classifier.predict(head_output)
        return classifier.label(head_output, _decoded(model, left_out, frame, inference))
    decoded = _decoded(model, left_out, frame, inference)
    indicator = left_out.indicator[frame]
    if indicator is None or inference.pixel_weight <= 0:
        return Prediction.of(decoded)
    color = token_color(image, model.config.backbone.grid)
    classify = PixelClassifier(inference.pixel_weight)
    return Prediction.of(*classify_pixels(classify, features, color, decoded, indicator))


def _decoded(model: OflSam2, left_out: LeftOut, frame: int, inference: Inference) -> DecodedMasks:
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    decoded = model.backbone.decode_masks(fused, left_out.features[frame])
    return decoded.shifted(inference.object_offset)


def held_out_score(model: OflSam2, left_out: LeftOut, inference: Inference) -> float:
    """Mean DSC over held-out frames and classes; absent classes count as 1 or 0."""
    found = [
        exclusive_dsc(predict_left_out(model, left_out, n, inference), left_out.mask[n])
        for n in range(len(left_out.features))
    ]
    return float(torch.stack(found).mean())


@torch.no_grad()
def names_lost(model: OflSam2, left_out: LeftOut, adapted: LeftOut) -> bool:
    """Are classes of held-out frames worse told apart with an adapted head, absent ones counted?

    A head that finds more also gives absent classes more to be named on.
    """
    if len(left_out.features) < 2 or left_out.mask.shape[1] == 1:
        return False
    alone = Inference(Mode.HEAD)
    return held_out_score(model, adapted, alone) < held_out_score(model, left_out, alone)


def choose_inference(model: OflSam2, left_out: LeftOut, *, believed: bool = False) -> Inference:
    """The one that segments the held-out frames best.

    believed: the head is, where there are too few of them
    """
    if len(left_out.features) < 2:
        mode = Mode.HEAD if believed else Mode.PIXELS
        return Inference(mode, object_offset=UNTESTED_OFFSET)
    weights = PIXEL_WEIGHTS if left_out.indicator[0] is not None else (0.0,)

    def score(inference: Inference) -> float:
        return held_out_score(model, left_out, inference)

    pixels = max((Inference(pixel_weight=one) for one in weights), key=score)
    chosen = pixels
    if left_out.exemplars:
        alone = replace(pixels, mode=Mode.HEAD)
        beside = [replace(pixels, mode=Mode.INSTANCES, head_weight=one) for one in HEAD_WEIGHTS]
        scores = {one: score(one) for one in (alone, *beside)}
        best = max(scores, key=lambda one: scores[one])
        instances = alone if scores[alone] >= scores[best] - CLEARLY else best
        if scores[instances] >= score(pixels) - TRACKS_GAIN:
            chosen = instances
    if chosen.mode is Mode.HEAD:  # which has no object score
        return chosen
    return max((replace(chosen, object_offset=one) for one in OBJECT_OFFSETS), key=score)


def where_counted(prediction: Prediction, counted: Tensor) -> Prediction:
    """Nothing found where pixels are ignored: nothing is right or wrong there. counted: (S, S)"""
    side = prediction.mask_logits.shape[-1]
    known = F.adaptive_avg_pool2d(counted.float()[None, None], side) > 0.5
    return replace(prediction, mask_logits=prediction.mask_logits.where(known, NOT_FOUND))


def soft_dsc(prediction: Prediction, mask: Tensor) -> Tensor:
    """DSC of the gated masks at the decoder's resolution; one where both are empty.

    mask: (C, S, S) float; returns (C,)
    """
    truth = F.adaptive_avg_pool2d(mask[:, None], prediction.mask_logits.shape[-1]) > 0.5
    found = prediction.gated() > 0
    sizes = found.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    overlap = 2.0 * (found & truth).sum(dim=(1, 2, 3))
    return torch.where(sizes > 0, overlap / sizes.clamp_min(1), 1.0)


def exclusive_dsc(prediction: Prediction, mask: Tensor) -> Tensor:
    """As soft_dsc, but a pixel belongs to the class with the highest logit, as it is shown."""
    logits = prediction.gated()
    best = logits.amax(dim=0, keepdim=True)
    won = torch.where(logits == best, logits, -best.abs() - 1)
    return soft_dsc(replace(prediction, mask_logits=won), mask)

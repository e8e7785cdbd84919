"""What held-out frames choose: the ridge, the fusion, the answer, its calibration, the guard.

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

from models.backbone import DecodedMasks, ImageFeatures
from models.config import BackboneConfig, FitConfig, LearnerConfig, MemoryConfig
from models.encoded import (
    EncodedFrames,
    frame_features,
    frame_statistics,
    name_indicator,
    statistics_without,
    total_statistics,
)
from models.instance_naming import InstanceNamer, joined
from models.losses import mask_loss, quality_loss
from models.mapper import apply_mapper, descend, mapping_loss, ridge_solution, token_color
from models.memory_attention import BankTensors
from models.memory_bank import BankShape, MemoryBank
from models.namer import Named
from models.naming import WEIGHTS as NAMING_WEIGHTS
from models.naming import NameMasks, Naming, apply_naming
from models.ofl_sam2 import OflSam2
from models.profile import Calibration, SupportSet, pool_features, raw_confidence
from models.references import References
from models.specks import rule_for

RIDGES = (0.3, 1.0, 3.0, 10.0)  # times the ridge that pretraining found
FOUND_WEIGHTS = (1.0, 0.5, 0.0)  # see References; the first, unless another is clearly better
CLEARLY = 0.05  # in DSC: a few held-out frames say no more about it
TRACKS_GAIN = 0.02  # in DSC, of naming instances over pixels in video; single frames do not show it
OBJECT_OFFSETS = (0.0, 1.5, 3.0)  # of the object score
MAPPED_ALONE = -8.0  # bias of the fusion gate from which nothing but E2 passes
PRIOR, INSTANCE_PRIOR = 2.0, 20.0  # of the calibration, in samples; the latter is fitted already
USUAL = 0.9  # share of true annotations whose loss the guard takes for usual
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
            mapped = apply_mapper(tau, encoded.described[frame : frame + 1])
            decoded = model.backbone.decode_masks(mapped, frame_features(encoded, frame))
            decoded = where_counted(decoded, encoded.counted[frame])
            found.append(soft_dsc(decoded, encoded.mask[:, frame].float()).mean())
        scores.append(torch.stack(found).mean())
    return base * RIDGES[int(torch.stack(scores).argmax())]


@dataclass(frozen=True)
class LeftOut:
    """Held-out frames as the tracker would see them, before fusion.

    attended, mapped: (n, C, D, h, w); mask: (n, C, S, S); counted: (n, S, S); features, image,
    indicator and references (both from the other frames): of n frames
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
    references: list[References]
    instrument: list[Tensor] | None = None


@torch.no_grad()
def leave_one_out(
    model: OflSam2, encoded: EncodedFrames, held_out: list[HeldOut], ridge: float
) -> LeftOut:
    """The held-out frames as the tracker would see them, knowing only the frames they leave."""
    total, config = total_statistics(encoded), model.config
    attended, mapped, features = [], [], []
    image, indicator, references = [], [], []
    for out in held_out:
        frame = out.frame
        tau = ridge_solution(statistics_without(encoded, total, out.without), ridge)
        seen = frame_features(encoded, frame)
        bank = _bank_without(encoded, out, config.backbone, config.memory)
        attended.append(model.backbone.attend_memory(seen.stride16, bank))
        mapped.append(apply_mapper(tau, encoded.described[frame : frame + 1]))
        features.append(seen)
        image.append(encoded.image[frame : frame + 1])
        indicator.append(name_indicator(encoded, out.without))
        references += _references_without(encoded, out.without)
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
        references=references,
    )


def _references_without(encoded: EncodedFrames, frames: Sequence[int]) -> list[References]:
    others = [one for number, one in enumerate(encoded.references) if number not in frames]
    return [joined(others, 0.0)] if others else []


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


def train_fusion(model: OflSam2, left_out: LeftOut, config: FitConfig) -> int:
    """The start of the fusion, and AdamW on it for `config.epochs`. Returns epochs run.

    It starts from the pretrained gate, or from one that lets only the mapping network through if
    that segments the held-out frames better: neither has seen them. Every fourth validates.
    """
    count = len(left_out.features)
    if count < 4:
        return 0
    pretrained = _copy_state(model)
    mapped = {key: torch.zeros_like(value) for key, value in pretrained.items()}
    mapped["gate.bias"] += MAPPED_ALONE

    def score(state: dict[str, Tensor]) -> float:
        model.fusion.load_state_dict(state)
        return _held_out_score(model, left_out, Answer(0.0, 0.0))

    start = max((pretrained, mapped), key=score)
    model.fusion.load_state_dict(start)
    if not config.epochs:
        return 0
    order = torch.randperm(count).tolist()
    validate, train = order[::4], [n for n in order if n not in order[::4]]
    optimizer = torch.optim.AdamW(model.fusion.parameters(), lr=config.rate)
    best, best_loss = _copy_state(model), _fusion_loss(model, left_out, validate)
    waited, epochs = 0, 0
    while epochs < config.epochs and waited < config.patience:
        for frame in train:
            optimizer.zero_grad(set_to_none=True)
            loss = _frame_loss(model, left_out, frame)
            loss.backward()
            optimizer.step()
        loss_now = _fusion_loss(model, left_out, validate)
        if loss_now < best_loss:
            best, best_loss, waited = _copy_state(model), loss_now, 0
        else:
            waited += 1
        epochs += 1
    model.fusion.load_state_dict(best)
    return epochs


def _copy_state(model: OflSam2) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.fusion.state_dict().items()}


def _frame_loss(model: OflSam2, left_out: LeftOut, frame: int) -> Tensor:
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    decoded = model.backbone.decode_masks(fused, left_out.features[frame])
    decoded = where_counted(decoded, left_out.counted[frame])
    mask = left_out.mask[frame][:, None]
    quality = quality_loss(decoded.iou, decoded.object_logit, decoded.mask_logits, mask)
    return (mask_loss(decoded.mask_logits, mask) + quality).mean()


@torch.no_grad()
def _fusion_loss(model: OflSam2, left_out: LeftOut, frames: list[int]) -> float:
    return sum(float(_frame_loss(model, left_out, frame)) for frame in frames) / len(frames)


@dataclass(frozen=True)
class Answer:
    """How decoded rows become an answer; see Naming.weight and Profile.object_offset.

    found_weight: see References; None: name pixels, not instances
    """

    naming_weight: float
    object_offset: float
    found_weight: float | None = None


@torch.no_grad()
def _decode_left_out(model: OflSam2, left_out: LeftOut, frame: int, answer: Answer) -> Named:
    """A held-out frame as the tracker would answer it, nothing where pixels are ignored."""
    named = _answer_left_out(model, left_out, frame, answer)
    return replace(named, rows=where_counted(named.rows, left_out.counted[frame]))


def _answer_left_out(model: OflSam2, left_out: LeftOut, frame: int, answer: Answer) -> Named:
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    features = left_out.features[frame]
    decoded = model.backbone.decode_masks(fused, features).shifted(answer.object_offset)
    if answer.found_weight is not None and model.parting is not None:
        references = replace(left_out.references[frame], found_weight=answer.found_weight)
        adapted = left_out.instrument is not None
        rule = rule_for(len(decoded.iou), adapted=adapted)
        parted = model.parting(features, left_out.image[frame])
        if left_out.instrument is not None:
            parted = replace(parted, instrument=left_out.instrument[frame])
        return InstanceNamer(model.parting, references, rule).name(parted, decoded)
    indicator = left_out.indicator[frame]
    if indicator is None or answer.naming_weight <= 0:
        return Named(decoded, raw_confidence(decoded, torch.ones(len(decoded.iou))))
    color = token_color(left_out.image[frame], model.config.backbone.grid)
    naming = Naming(indicator, answer.naming_weight)
    named, certainty = apply_naming(NameMasks(naming), features, color, decoded)
    return Named(named, raw_confidence(named, certainty))


def _held_out_score(model: OflSam2, left_out: LeftOut, answer: Answer) -> float:
    """Mean DSC over held-out frames and classes; absent classes count as 1 or 0."""
    found = [
        exclusive_dsc(_decode_left_out(model, left_out, n, answer).rows, left_out.mask[n])
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
    answer = Answer(0.0, 0.0, FOUND_WEIGHTS[0])
    return _held_out_score(model, adapted, answer) < _held_out_score(model, left_out, answer)


def choose_answer(model: OflSam2, left_out: LeftOut, untested: float | None = None) -> Answer:
    """The answer that segments the held-out frames best.

    untested: its found_weight where there are too few of them
    """
    if len(left_out.features) < 2:
        return Answer(0.0, UNTESTED_OFFSET, untested)
    weights = NAMING_WEIGHTS if left_out.indicator[0] is not None else (0.0,)

    def score(answer: Answer) -> float:
        return _held_out_score(model, left_out, answer)

    weight = max(weights, key=lambda one: score(Answer(one, 0.0)))
    by_pixel = score(Answer(weight, 0.0))
    shares = {one: score(Answer(weight, 0.0, one)) for one in FOUND_WEIGHTS if left_out.references}
    share: float | None = max(shares, key=lambda one: shares[one], default=None)
    if share is not None and shares[FOUND_WEIGHTS[0]] >= shares[share] - CLEARLY:
        share = FOUND_WEIGHTS[0]
    if share is not None and shares[share] < by_pixel - TRACKS_GAIN:
        share = None
    return max((Answer(weight, offset, share) for offset in OBJECT_OFFSETS), key=score)


@torch.no_grad()
def calibrate(
    model: OflSam2, left_out: LeftOut, rows: int, answer: Answer
) -> tuple[Calibration, list[float]]:
    """Confidence against held-out DSC, per class; and the held-out DSC where visible."""
    raw, dsc, shown, drawn = [], [], [], []
    for frame in range(len(left_out.features)):
        named = _decode_left_out(model, left_out, frame, answer)
        raw.append(named.confidence)
        drawn.append((named.rows.gated() > 0).flatten(1).any(dim=1))
        dsc.append(exclusive_dsc(named.rows, left_out.mask[frame]))
        shown.append(left_out.mask[frame].flatten(1).any(dim=1))
    if not raw:
        return Calibration(torch.ones(rows), torch.zeros(rows)), [float("nan")] * rows
    scores, truth, visible = torch.stack(raw), torch.stack(dsc), torch.stack(shown)
    prior = PRIOR if answer.found_weight is None or rows == 1 else INSTANCE_PRIOR
    logit = torch.logit(scores.clamp(1e-4, 1 - 1e-4))
    slope, offset = _logistic(logit, truth, torch.stack(drawn).float(), prior)
    reached = [float(truth[visible[:, r], r].mean()) for r in range(rows)]
    return Calibration(slope, offset), reached


def _logistic(
    score: Tensor, truth: Tensor, counted: Tensor, weight: float
) -> tuple[Tensor, Tensor]:
    """Per column, slope and offset of a logistic regression with a prior at (1, 0), by Newton.

    score, truth: (n, C); counted: (n, C) 0 or 1, what is not drawn needs no confidence
    weight: of the prior, in samples, so that few frames cannot run away
    """
    with torch.inference_mode(mode=False):
        features = torch.stack([score, torch.ones_like(score)], dim=-1).transpose(0, 1)  # (C, n, 2)
        wanted, used = truth.T, counted.T[..., None]
        prior = torch.tensor([1.0, 0.0])
        weights = prior.repeat(len(features), 1)
        for _ in range(30):
            prob = torch.sigmoid((features @ weights[..., None])[..., 0])
            gradient = ((prob - wanted)[..., None] * used * features).sum(1) + weight * (
                weights - prior
            )
            curve = (prob * (1 - prob)).clamp_min(1e-3)[..., None, None]
            hessian = (
                curve * used[..., None] * features[..., :, None] * features[..., None, :]
            ).sum(1)
            hessian = hessian + weight * torch.eye(2)
            weights = weights - torch.linalg.solve(hessian, gradient[..., None])[..., 0]
    return weights[:, 0].clamp_min(0.2), weights[:, 1]


def guard_limits(
    encoded: EncodedFrames, held_out: list[HeldOut], ridge: float, learner: LearnerConfig
) -> tuple[Tensor, Tensor]:
    """What true annotations do when they arrive as an online frame, measured by leaving frames out.

    returns: the largest rise of the loss on the other frames, at least the configured tolerance,
             and a quarter more than the loss that nine in ten of such frames stay under before they
             are learnt (one odd annotation must not make the guard believe anything); (C,)
    """
    rows = len(encoded.present)
    rise = torch.full((rows,), learner.tolerance)
    losses = [torch.full((rows,), float("nan"))]
    total = total_statistics(encoded)
    share = torch.full((rows,), learner.decay * (1 - learner.support_weight))
    for out in held_out if encoded.present.shape[1] > 1 else []:
        seen = encoded.present[:, out.frame]
        fresh = frame_statistics(encoded, out.frame)
        others = statistics_without(encoded, total, out.without)
        tau = ridge_solution(others, ridge)
        moved = others.mixed(fresh.normalized(), share)
        after = descend(tau, moved, ridge, learner.online_iterations)
        risen = mapping_loss(after, others) / mapping_loss(tau, others).clamp_min(1e-9) - 1
        rise = torch.where(seen, torch.maximum(rise, risen), rise)
        loss = mapping_loss(tau, fresh.normalized())
        losses.append(torch.where(seen, loss, float("nan")))
    surprise = 1.25 * torch.nanquantile(torch.stack(losses), USUAL, dim=0)
    return rise, surprise.nan_to_num(float("inf"))


def where_counted(decoded: DecodedMasks, counted: Tensor) -> DecodedMasks:
    """Nothing found where pixels are ignored: nothing is right or wrong there. counted: (S, S)"""
    side = decoded.mask_logits.shape[-1]
    known = F.adaptive_avg_pool2d(counted.float()[None, None], side) > 0.5
    return replace(decoded, mask_logits=decoded.mask_logits.where(known, NOT_FOUND))


def soft_dsc(decoded: DecodedMasks, mask: Tensor) -> Tensor:
    """DSC of the gated masks at the decoder's resolution; one where both are empty.

    mask: (C, S, S) float; returns (C,)
    """
    truth = F.adaptive_avg_pool2d(mask[:, None], decoded.mask_logits.shape[-1]) > 0.5
    found = decoded.gated() > 0
    sizes = found.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    overlap = 2.0 * (found & truth).sum(dim=(1, 2, 3))
    return torch.where(sizes > 0, overlap / sizes.clamp_min(1), 1.0)


def exclusive_dsc(decoded: DecodedMasks, mask: Tensor) -> Tensor:
    """As soft_dsc, but a pixel belongs to the class with the highest logit, as it is shown."""
    logits = decoded.gated()
    best = logits.amax(dim=0, keepdim=True)
    won = torch.where(logits == best, logits, -best.abs() - 1)
    return soft_dsc(replace(decoded, mask_logits=won), mask)

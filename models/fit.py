"""Few-shot training of a profile: annotated frames in, one safetensors file out.

Everything that a frame must not teach itself is measured by leaving that frame out: the mapping
statistics are additive, so T without frame n is a subtraction and a solve away. Held-out frames
choose the ridge, train the fusion (AdamW, early stop), calibrate the confidence and set how much
an honest update may raise the support loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from models.backbone import BankTensors, DecodedMasks, ImageFeatures
from models.checkpoint import LoadedWeights, load_embedded
from models.config import BackboneConfig, LearnerConfig, MemoryConfig
from models.datasets.folder import FolderDataset, read_image, read_mask
from models.errors import DatasetError
from models.learner import LearnerStart
from models.losses import mask_loss, quality_loss
from models.mapper import (
    Statistics,
    apply_mapper,
    descend,
    describe,
    mapping_loss,
    ridge_solution,
    token_weights,
)
from models.memory_bank import BankShape, MemoryBank
from models.naming import WEIGHTS as NAMING_WEIGHTS
from models.naming import Naming, describe_instrument, fit_naming, naming_statistics
from models.ofl_sam2 import Entries, OflSam2
from models.preprocess import resize_image, resize_mask
from models.profile import Calibration, Profile, SupportSet, save_profile
from models.tracker import apply_naming, pool_features, raw_confidence
from models.types import ClassSpec, UInt8Array

RIDGES = (0.3, 1.0, 3.0, 10.0)  # times the ridge that pretraining found
OBJECT_OFFSETS = (0.0, 1.5, 3.0)  # of the object score; held-out frames choose
UNTESTED_OFFSET = 3.0  # where there are too few frames to hold any out
MAX_CANDIDATES = 8  # annotated frames whose memories a profile keeps for retrieval


@dataclass(frozen=True)
class FitConfig:
    """How a profile is trained.

    epochs, patience: of the fusion; rate: AdamW's
    held_out: at most this many frames are left out in turn (all of a few-shot set)
    """

    seed: int = 0
    epochs: int = 40
    patience: int = 6
    rate: float = 1e-3
    held_out: int = 32
    progress: bool = False


@dataclass(frozen=True)
class AnnotatedFrames:
    """N annotated frames at the network's size.

    image: (N, S, S, 3) uint8; mask: (C, N, S, S) uint8 0 or 1
    """

    image: UInt8Array
    mask: UInt8Array

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[UInt8Array, UInt8Array]], class_ids: Sequence[int], size: int
    ) -> AnnotatedFrames:
        """pairs: image (H, W, 3) and class map (H, W); ignored pixels count as background."""
        images = np.stack([resize_image(image, size) for image, _ in pairs])
        masks = [
            [resize_mask((mask == class_id).astype(np.uint8), size) for _, mask in pairs]
            for class_id in class_ids
        ]
        return cls(images, np.asarray(masks, dtype=np.uint8))


@dataclass(frozen=True)
class FitReport:
    """What came out, for the person who ran it."""

    path: Path | None
    frames: int
    classes: tuple[str, ...]
    held_out_dsc: dict[str, float]
    fusion_epochs: int
    ridge: float
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Encoded:
    """The annotated frames through the frozen network; rows are class-major, (C N)."""

    features: ImageFeatures
    described: Tensor
    entries: Entries
    statistics: Statistics  # rows C * N, one frame each
    present: Tensor  # (C, N)
    mask: Tensor  # (C, N, S, S)
    image: Tensor  # (N, 3, S, S) normalised
    naming: list[Statistics]  # N of one row


def fit_profile(
    dataset: FolderDataset,
    *,
    shots: int | None = None,
    seed: int = 0,
    out: Path,
    progress: bool = True,
) -> FitReport:
    """Fit the embedded backbone to a folder data set and write the profile.

    shots: use this many annotated frames, drawn by seed so that every class is seen; None uses all
    A class that no drawn frame shows cannot be learnt: it is left out, and the report names it.
    Raises DatasetError: no annotated frame, or none that shows anything.
    """
    weights = load_embedded()
    pairs = draw_shots(dataset, shots, seed)
    config = FitConfig(seed=seed, progress=progress)
    size = weights.model.config.backbone.image_size
    classes = visible_classes(dataset.classes, pairs)
    frames = AnnotatedFrames.of(pairs, [spec.class_id for spec in classes], size)
    profile, report = fit_frames(weights, classes, frames, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_profile(profile, out)
    hidden = tuple(spec.name for spec in dataset.classes if spec not in classes)
    return replace(report, path=out, left_out=hidden)


def visible_classes(
    classes: tuple[ClassSpec, ...], pairs: Sequence[tuple[UInt8Array, UInt8Array]]
) -> tuple[ClassSpec, ...]:
    """The classes that at least one class map shows. Raises DatasetError when there is none."""
    shown = {int(class_id) for _, mask in pairs for class_id in np.unique(mask)}
    visible = tuple(spec for spec in classes if spec.class_id in shown)
    if not visible:
        raise DatasetError("expected annotated frames that show a class, found only background")
    return visible


def draw_shots(
    dataset: FolderDataset, shots: int | None, seed: int
) -> list[tuple[UInt8Array, UInt8Array]]:
    """Annotated (image, class map) pairs: a seeded draw, first such that each class is seen.

    Raises DatasetError when nothing is annotated.
    """
    annotated = list(dataset.annotated())
    if not annotated:
        raise DatasetError("expected at least one annotated frame, found no masks at all")
    order = [annotated[int(i)] for i in np.random.default_rng(seed).permutation(len(annotated))]
    wanted = len(order) if shots is None else min(shots, len(order))
    pairs: list[tuple[UInt8Array, UInt8Array]] = []
    spare: list[tuple[UInt8Array, UInt8Array]] = []
    missing = {spec.class_id for spec in dataset.classes}
    for frame in order:
        if len(pairs) == wanted or (not missing and len(pairs) + len(spare) >= wanted):
            break
        if frame.mask is None:
            continue
        image = read_image(frame.image)
        mask = read_mask(frame.mask, dataset.classes, image.shape[:2])
        new = missing & {int(i) for i in np.unique(mask)}
        missing -= new
        (pairs if new else spare).append((image, mask))
        spare = spare[:wanted]
    return (pairs + spare)[:wanted]


def fit_frames(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    config: FitConfig,
    learner: LearnerConfig | None = None,
    memory: MemoryConfig | None = None,
) -> tuple[Profile, FitReport]:
    """Fit a profile in memory.

    Raises DatasetError when a class is never visible.
    """
    torch.manual_seed(config.seed)
    model = _method(weights.model, learner, memory)
    bar = tqdm(total=5, desc="fit", unit="stage", disable=not config.progress)
    encoded = _encode(model, frames)
    _require_visible(classes, encoded.present)
    bar.update()
    held_out = _held_out_frames(encoded, config)
    ridge = _choose_ridge(model, encoded, held_out, weights.ridge)
    bar.update()
    left_out = _leave_one_out(model, encoded, held_out, ridge)
    epochs = _train_fusion(model, left_out, config)
    bar.update()
    answer = _choose_answer(model, left_out)
    calibration, dsc = _calibrate(model, left_out, len(classes), answer)
    bar.update()
    start = _start(model, encoded, held_out, ridge)
    bar.update()
    bar.close()
    profile = Profile(
        classes=classes,
        backbone=weights.name,
        backbone_sha256=weights.sha256,
        learner=model.config.learner,
        memory=model.config.memory,
        start=start,
        fusion={key: value.detach() for key, value in model.fusion.state_dict().items()},
        support=_support_set(encoded),
        calibration=calibration,
        fitted_on={"frames": len(frames.image), "seed": config.seed},
        naming=_naming(encoded, answer.naming_weight),
        object_offset=answer.object_offset,
    )
    named = {spec.name: value for spec, value in zip(classes, dsc, strict=True)}
    report = FitReport(
        None, len(frames.image), tuple(s.name for s in classes), named, epochs, ridge
    )
    return profile, report


def _method(model: OflSam2, learner: LearnerConfig | None, memory: MemoryConfig | None) -> OflSam2:
    config = replace(
        model.config,
        learner=learner or model.config.learner,
        memory=memory or model.config.memory,
    )
    own = OflSam2.sharing(model, config)
    own.fusion.load_state_dict(model.fusion.state_dict())
    return own


@torch.no_grad()
def _encode(model: OflSam2, frames: AnnotatedFrames) -> _Encoded:
    """Frame by frame, all classes of a frame in one batch: memory use does not grow with C N."""
    backbone, learner = model.backbone, model.config.learner
    mask = torch.from_numpy(frames.mask)
    rows = len(mask)
    levels: list[ImageFeatures] = []
    images, naming = [], []
    described, memories, pointers, statistics = [], [], [], []
    for number in range(len(frames.image)):
        pixels = torch.from_numpy(frames.image[number]).permute(2, 0, 1)[None].float()
        image = backbone.normalize(pixels)
        features = backbone.encode_image(image)
        phi = describe(features.stride16, image, learner)
        each = features.rows(torch.zeros(rows, dtype=torch.long))
        shown = mask[:, number].float()
        entries = model.annotate(each, shown[:, None])
        target = model.target(each.stride16, entries)
        weight = token_weights(shown, backbone.config.grid)[:, None]
        levels.append(features)
        images.append(image)
        naming.append(_naming_of(features, image, shown))
        described.append(phi)
        memories.append(entries.memory)
        pointers.append(entries.pointer)
        statistics.append(Statistics.of(phi.flatten(2)[None], target.flatten(2)[:, None], weight))
    return _Encoded(
        features=ImageFeatures(
            torch.cat([f.stride16 for f in levels]),
            torch.cat([f.stride8 for f in levels]),
            torch.cat([f.stride4 for f in levels]),
        ),
        described=torch.cat(described),
        entries=Entries(torch.stack(memories, dim=1), torch.stack(pointers, dim=1)),
        statistics=_stack(statistics),
        present=mask.flatten(2).amax(dim=2) > 0,
        mask=mask,
        image=torch.cat(images),
        naming=naming,
    )


def _naming_of(features: ImageFeatures, image: Tensor, mask: Tensor) -> Statistics:
    """Naming statistics of one frame. mask: (C, S, S)"""
    cover = F.adaptive_avg_pool2d(mask[None], features.stride16.shape[-1])[0]
    whole = cover.sum(dim=0, keepdim=True).clamp_max(1.0)[None]
    return naming_statistics(describe_instrument(features.stride16, image, whole), cover)


def _naming(encoded: _Encoded, weight: float) -> Naming | None:
    indicator = _indicator(encoded)
    return Naming(indicator, weight) if indicator is not None and weight > 0 else None


def _indicator(encoded: _Encoded, without: int | None = None) -> Tensor | None:
    """Naming weights from all frames, or all but one; None where there is only one class."""
    kept = [s for n, s in enumerate(encoded.naming) if n != without]
    if len(encoded.present) < 2 or not kept:
        return None
    total = kept[0]
    for one in kept[1:]:
        total = total.plus(one)
    return fit_naming(total)


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


def _total(encoded: _Encoded) -> Statistics:
    """Sum over frames, C rows."""
    shape = encoded.present.shape
    each = encoded.statistics
    return Statistics(
        each.gram.unflatten(0, shape).sum(1),
        each.cross.unflatten(0, shape).sum(1),
        each.energy.unflatten(0, shape).sum(1),
        each.weight.unflatten(0, shape).sum(1),
    )


def _of_frame(encoded: _Encoded, frame: int) -> Statistics:
    rows, frames = encoded.present.shape
    return encoded.statistics.rows(torch.arange(rows) * frames + frame)


def _require_visible(classes: tuple[ClassSpec, ...], present: Tensor) -> None:
    hidden = [spec.name for spec, seen in zip(classes, present.any(1), strict=True) if not seen]
    if hidden:
        raise DatasetError(
            f"expected every class in the annotated frames, never visible: {', '.join(hidden)}"
        )


def _held_out_frames(encoded: _Encoded, config: FitConfig) -> list[int]:
    """Frames to leave out in turn: without any of them, every class must still be visible."""
    left = encoded.present.sum(1, keepdim=True) - encoded.present.long()
    possible = torch.nonzero((left > 0).all(dim=0)).flatten()
    shuffled = possible[torch.randperm(len(possible))]
    return sorted(shuffled[: config.held_out].tolist())


@torch.no_grad()
def _choose_ridge(model: OflSam2, encoded: _Encoded, held_out: list[int], base: float) -> float:
    """The ridge whose mapping alone segments held-out frames best."""
    if len(held_out) < 2:
        return base
    total = _total(encoded)
    scores = []
    for factor in RIDGES:
        found = []
        for frame in held_out[:12]:
            tau = ridge_solution(total.minus(_of_frame(encoded, frame)).normalized(), base * factor)
            mapped = apply_mapper(tau, encoded.described[frame : frame + 1])
            decoded = model.backbone.decode_masks(mapped, _frame_features(encoded, frame))
            found.append(soft_dsc(decoded, encoded.mask[:, frame].float()).mean())
        scores.append(torch.stack(found).mean())
    return base * RIDGES[int(torch.stack(scores).argmax())]


@dataclass(frozen=True)
class _LeftOut:
    """Held-out frames as the tracker would see them, before fusion.

    attended, mapped: (n, C, D, h, w); mask: (n, C, S, S); features, image, indicator: of n frames
    """

    attended: Tensor
    mapped: Tensor
    mask: Tensor
    features: list[ImageFeatures]
    image: list[Tensor]
    indicator: list[Tensor | None]


@torch.no_grad()
def _leave_one_out(
    model: OflSam2, encoded: _Encoded, held_out: list[int], ridge: float
) -> _LeftOut:
    total, config = _total(encoded), model.config
    attended, mapped, features = [], [], []
    image, indicator = [], []
    for frame in held_out:
        tau = ridge_solution(total.minus(_of_frame(encoded, frame)).normalized(), ridge)
        frame_features = _frame_features(encoded, frame)
        bank = _bank_without(encoded, frame, config.backbone, config.memory)
        attended.append(model.backbone.attend_memory(frame_features.stride16, bank))
        mapped.append(apply_mapper(tau, encoded.described[frame : frame + 1]))
        features.append(frame_features)
        image.append(encoded.image[frame : frame + 1])
        indicator.append(_indicator(encoded, without=frame))
    if not held_out:
        empty = torch.zeros(0)
        return _LeftOut(empty, empty, empty, [], [], [])
    mask = encoded.mask[:, held_out].transpose(0, 1).float()
    return _LeftOut(torch.stack(attended), torch.stack(mapped), mask, features, image, indicator)


def _bank_without(
    encoded: _Encoded, frame: int, backbone: BackboneConfig, memory: MemoryConfig
) -> BankTensors:
    """The bank a stream would start with on this frame, from the other frames' memories."""
    rows = len(encoded.present)
    bank = MemoryBank(BankShape(rows, memory.support, 0, backbone), memory.max_pointer_distance)
    present = encoded.present.clone()
    present[:, frame] = False
    pooled = pool_features(encoded.features.stride16)
    support = SupportSet(encoded.entries, present, pooled)
    for row in range(rows):
        bank.set_support(row, support.most_similar(row, pooled[frame], memory.support))
    return bank.tensors(0)


def _train_fusion(model: OflSam2, left_out: _LeftOut, config: FitConfig) -> int:
    """AdamW on the fusion alone; every fourth held-out frame validates. Returns epochs run."""
    count = len(left_out.features)
    if count < 4:
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


def _frame_loss(model: OflSam2, left_out: _LeftOut, frame: int) -> Tensor:
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    decoded = model.backbone.decode_masks(fused, left_out.features[frame])
    mask = left_out.mask[frame][:, None]
    quality = quality_loss(decoded.iou, decoded.object_logit, decoded.mask_logits, mask)
    return (mask_loss(decoded.mask_logits, mask) + quality).mean()


@torch.no_grad()
def _fusion_loss(model: OflSam2, left_out: _LeftOut, frames: list[int]) -> float:
    return sum(float(_frame_loss(model, left_out, frame)) for frame in frames) / len(frames)


@dataclass(frozen=True)
class _Answer:
    """How decoded rows become an answer; see Naming.weight and Profile.object_offset."""

    naming_weight: float
    object_offset: float


@torch.no_grad()
def _decode_left_out(
    model: OflSam2, left_out: _LeftOut, frame: int, answer: _Answer
) -> tuple[DecodedMasks, Tensor]:
    """A held-out frame as the tracker would answer it, and the certainty of its names."""
    fused = model.fusion(left_out.attended[frame], left_out.mapped[frame])
    features = left_out.features[frame]
    decoded = model.backbone.decode_masks(fused, features).shifted(answer.object_offset)
    indicator = left_out.indicator[frame]
    if indicator is None or answer.naming_weight == 0:
        return decoded, torch.ones(len(decoded.iou))
    naming = Naming(indicator, answer.naming_weight)
    return apply_naming(naming, features, left_out.image[frame], decoded)


def _choose_answer(model: OflSam2, left_out: _LeftOut) -> _Answer:
    """The answer that segments the held-out frames best; absent classes count as 1 or 0."""
    frames = range(len(left_out.features))
    if len(frames) < 2:
        return _Answer(0.0, UNTESTED_OFFSET)
    weights = NAMING_WEIGHTS if left_out.indicator[0] is not None else (0.0,)

    def score(answer: _Answer) -> float:
        decoded = [_decode_left_out(model, left_out, n, answer)[0] for n in frames]
        found = [exclusive_dsc(d, left_out.mask[n]) for n, d in zip(frames, decoded, strict=True)]
        return float(torch.stack(found).mean())

    weight = max(weights, key=lambda one: score(_Answer(one, 0.0)))
    return max((_Answer(weight, offset) for offset in OBJECT_OFFSETS), key=score)


@torch.no_grad()
def _calibrate(
    model: OflSam2, left_out: _LeftOut, rows: int, answer: _Answer
) -> tuple[Calibration, list[float]]:
    """Confidence against held-out DSC, per class; and the held-out DSC where visible."""
    raw, dsc, shown = [], [], []
    for frame in range(len(left_out.features)):
        decoded, certainty = _decode_left_out(model, left_out, frame, answer)
        raw.append(raw_confidence(decoded, certainty))
        dsc.append(exclusive_dsc(decoded, left_out.mask[frame]))
        shown.append(left_out.mask[frame].flatten(1).any(dim=1))
    if not raw:
        return Calibration(torch.ones(rows), torch.zeros(rows)), [float("nan")] * rows
    scores, truth, visible = torch.stack(raw), torch.stack(dsc), torch.stack(shown)
    slope, offset = _logistic(torch.logit(scores.clamp(1e-4, 1 - 1e-4)), truth)
    reached = [float(truth[visible[:, r], r].mean()) for r in range(rows)]
    return Calibration(slope, offset), reached


def _logistic(score: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Per column, slope and offset of a logistic regression with a prior at (1, 0), by Newton.

    score, truth: (n, C); the prior weighs as much as two samples, so few frames cannot run away
    """
    with torch.inference_mode(mode=False):
        features = torch.stack([score, torch.ones_like(score)], dim=-1).transpose(0, 1)  # (C, n, 2)
        wanted = truth.T
        prior = torch.tensor([1.0, 0.0])
        weights = prior.repeat(len(features), 1)
        for _ in range(30):
            prob = torch.sigmoid((features @ weights[..., None])[..., 0])
            gradient = ((prob - wanted)[..., None] * features).sum(1) + 2 * (weights - prior)
            curve = (prob * (1 - prob)).clamp_min(1e-3)[..., None, None]
            hessian = (curve * features[..., :, None] * features[..., None, :]).sum(1)
            hessian = hessian + 2 * torch.eye(2)
            weights = weights - torch.linalg.solve(hessian, gradient[..., None])[..., 0]
    return weights[:, 0].clamp_min(0.2), weights[:, 1]


@torch.no_grad()
def _start(model: OflSam2, encoded: _Encoded, held_out: list[int], ridge: float) -> LearnerStart:
    learner = model.config.learner
    anchor = _total(encoded).normalized()
    tau = descend(ridge_solution(anchor, ridge), anchor, ridge, learner.fit_iterations)
    tolerance, surprise = _guard_limits(encoded, held_out, ridge, learner)
    return LearnerStart(tau, anchor, ridge, tolerance, surprise)


def _guard_limits(
    encoded: _Encoded, held_out: list[int], ridge: float, learner: LearnerConfig
) -> tuple[Tensor, Tensor]:
    """What true annotations do when they arrive as an online frame, measured by leaving frames out.

    returns: the largest rise of the loss on the other frames, at least the configured tolerance,
             and a quarter more than the largest loss on such a frame before it is learnt; (C,)
    """
    rows = len(encoded.present)
    rise, surprise = torch.full((rows,), learner.tolerance), torch.zeros(rows)
    total = _total(encoded)
    share = torch.full((rows,), learner.decay * (1 - learner.support_weight))
    for frame in held_out if encoded.present.shape[1] > 1 else []:
        seen = encoded.present[:, frame]
        fresh = _of_frame(encoded, frame)
        others = total.minus(fresh).normalized()
        tau = ridge_solution(others, ridge)
        moved = others.mixed(fresh.normalized(), share)
        after = descend(tau, moved, ridge, learner.online_iterations)
        risen = mapping_loss(after, others) / mapping_loss(tau, others).clamp_min(1e-9) - 1
        rise = torch.where(seen, torch.maximum(rise, risen), rise)
        loss = mapping_loss(tau, fresh.normalized())
        surprise = torch.where(seen, torch.maximum(surprise, loss), surprise)
    return rise, torch.where(surprise > 0, 1.25 * surprise, float("inf"))


def _support_set(encoded: _Encoded) -> SupportSet:
    """At most MAX_CANDIDATES frames, spread out in feature space, every class kept visible."""
    pooled = pool_features(encoded.features.stride16)
    chosen = _spread(encoded.present, pooled)
    entries = Entries(encoded.entries.memory[:, chosen], encoded.entries.pointer[:, chosen])
    return SupportSet(entries, encoded.present[:, chosen], pooled[chosen])


def _spread(present: Tensor, pooled: Tensor) -> Tensor:
    chosen: list[int] = []
    for row in present:  # first, two frames for each class
        seen = torch.nonzero(row).flatten().tolist()
        chosen += [n for n in seen if n not in chosen][: max(0, 2 - len(set(seen) & set(chosen)))]
    while len(chosen) < min(MAX_CANDIDATES, len(pooled)):
        similarity = (pooled @ pooled[chosen].T).amax(dim=1)
        similarity[chosen] = 2.0
        chosen.append(int(similarity.argmin()))
    return torch.tensor(chosen)


def _frame_features(encoded: _Encoded, frame: int) -> ImageFeatures:
    return encoded.features.rows(torch.tensor([frame]))


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

"""Few-shot training of a profile: annotated frames in, one safetensors file out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from models.backbone.memory_bank import Entries
from models.config import PUBLISHED_EPOCHS, FitConfig, LearnerConfig, MemoryConfig
from models.datasets.sequences import Dataset
from models.errors import DatasetError, ProfileError
from models.fitting.adoption import Adoption, adopt_head
from models.fitting.annotated import AnnotatedFrames, draw_shots, visible_classes
from models.fitting.calibration import calibrate, guard_limits
from models.fitting.encoded import (
    EncodedFrames,
    encode_frames,
    frame_features,
    name_statistics,
    total_statistics,
)
from models.fitting.fusion_training import train_fusion
from models.fitting.validation import (
    HeldOut,
    choose_inference,
    choose_ridge,
    held_out_frames,
    leave_one_out,
    names_lost,
)
from models.instances.instance_classifier import joined
from models.instances.mask_follower import followed_foreground
from models.learner.mapping_network import ridge_solution
from models.learner.online_learner import LearnerStart
from models.learner.pixel_classifier import PixelNames, fit_pixel_names
from models.method.adapted_head import head_tensors
from models.method.checkpoint import LoadedWeights, load_embedded
from models.method.model import OflSam2
from models.method.profile import Mode, Profile, SupportSet, pool_features, save_profile
from models.types import ClassSpec

MOST_FRAMES = 128  # of a data set, where nobody says how many: a gigabyte or so
MAX_CANDIDATES = 8  # annotated frames whose memories a profile keeps for retrieval


@dataclass(frozen=True)
class FitReport:
    """What came out, for the person who ran it.

    frames: fitted on; annotated: how many there were
    followed: whether the instruments of the one frame were found, where following was asked for
    head_alone: masks come from the instance head alone
    adoption: what came of adapting it to the annotated frames
    """

    path: Path | None
    frames: int
    classes: tuple[str, ...]
    held_out_dsc: dict[str, float]
    fusion_epochs: int
    ridge: float
    left_out: tuple[str, ...] = ()
    followed: bool = False
    head_alone: bool = False
    annotated: int = 0
    adoption: Adoption = field(default_factory=Adoption)


def fit_profile(
    dataset: Dataset,
    *,
    shots: int | None = None,
    seed: int = 0,
    out: Path,
    weights: LoadedWeights | None = None,
    instances: bool = True,
    follow: bool = False,
    adapt: int = 0,
    progress: bool = True,
) -> FitReport:
    """Fit a backbone to a data set and write the profile.

    weights: of the backbone, see `models/method/weight_source.py`; None takes the embedded ones
    shots: use this many annotated frames, drawn by seed so that every class is seen; None uses all,
    but at most MOST_FRAMES
    instances, follow, adapt: see FitConfig
    A class that no drawn frame shows cannot be learnt: it is left out, and the report names it.
    Raises DatasetError: no annotated frame, none that shows anything, several to follow.
    ProfileError: out is a folder.
    """
    if out.is_dir():
        raise ProfileError(f"expected a file for the profile, {out} is a folder")
    weights = weights or load_embedded()
    drawn = draw_shots(dataset, shots or MOST_FRAMES, seed)
    config = FitConfig(
        seed=seed, follow=follow, instances=instances, adapt=adapt, progress=progress
    )
    size = weights.model.config.backbone.image_size
    classes = visible_classes(dataset.classes, drawn.pairs)
    ids = [spec.class_id for spec in classes]
    frames = AnnotatedFrames.of(drawn.pairs, ids, size, drawn.clip)
    profile, report = fit_frames(weights, classes, frames, config)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_profile(profile, out)
    hidden = tuple(spec.name for spec in dataset.classes if spec not in classes)
    return replace(report, path=out, left_out=hidden, annotated=len(dataset.annotated()))


def fit_frames(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    config: FitConfig,
    learner: LearnerConfig | None = None,
    memory: MemoryConfig | None = None,
) -> tuple[Profile, FitReport]:
    """Fit a profile in memory.

    Raises DatasetError: a class never visible, several frames to follow, weights that cannot.
    """
    torch.manual_seed(config.seed)
    if config.follow and len(frames.image) != 1:
        raise DatasetError(f"expected one annotated frame to follow, got {len(frames.image)}")
    if config.follow and weights.model.instance_head is None:
        raise DatasetError(f"expected weights that tell instruments apart, {weights.name} cannot")
    model = _method(weights.model, learner, memory)
    bar = tqdm(total=5, desc="fit", unit="stage", disable=not config.progress)
    encoded = encode_frames(model, frames)
    if not config.instances:
        encoded = replace(encoded, exemplars=[])
    _require_visible(classes, encoded.present)
    bar.update()
    adoption = adopt_head(model, frames, encoded, config)
    held_out = held_out_frames(encoded, config)
    ridge = choose_ridge(model, encoded, held_out, weights.ridge)
    bar.update()
    left_out = leave_one_out(model, encoded, held_out, ridge)
    if adoption.head is not None:
        unseen = [adoption.instrument[out.frame] for out in held_out]
        adapted = replace(left_out, instrument=unseen)
        if names_lost(model, left_out, adapted):
            adoption = replace(adoption, head=None)
        else:
            left_out = adapted
    epochs = train_fusion(model, left_out, _with_epochs(config, weights))
    bar.update()
    believed = adoption.believed and bool(encoded.exemplars)
    inference = choose_inference(model, left_out, believed=believed)
    if not inference.mode.instances:  # no head has a voice
        adoption = replace(adoption, head=None)
    calibration, dsc = calibrate(model, left_out, len(classes), inference)
    bar.update()
    start = _start(model, encoded, held_out, ridge)
    foreground = _foreground(model, encoded) if config.follow else None
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
        mode=inference.mode if foreground is None else Mode.FOLLOW,
        pixel_names=_pixel_names(encoded, inference.pixel_weight),
        exemplars=joined(encoded.exemplars) if inference.mode.instances else None,
        head_weight=inference.head_weight,
        foreground=foreground,
        head=None if adoption.head is None else head_tensors(adoption.head),
        object_offset=inference.object_offset,
    )
    named = {spec.name: value for spec, value in zip(classes, dsc, strict=True)}
    report = FitReport(
        path=None,
        frames=len(frames.image),
        classes=tuple(spec.name for spec in classes),
        held_out_dsc=named,
        fusion_epochs=epochs,
        ridge=ridge,
        followed=profile.mode is Mode.FOLLOW,
        head_alone=profile.mode is Mode.HEAD,
        adoption=adoption,
    )
    return profile, report


def _with_epochs(config: FitConfig, weights: LoadedWeights) -> FitConfig:
    if config.epochs is not None:
        return config
    return replace(config, epochs=0 if weights.pretrained_fusion else PUBLISHED_EPOCHS)


def _method(model: OflSam2, learner: LearnerConfig | None, memory: MemoryConfig | None) -> OflSam2:
    config = replace(
        model.config,
        learner=learner or model.config.learner,
        memory=memory or model.config.memory,
    )
    own = OflSam2.sharing(model, config)
    own.fusion.load_state_dict(model.fusion.state_dict())
    return own


def _require_visible(classes: tuple[ClassSpec, ...], present: Tensor) -> None:
    hidden = [spec.name for spec, seen in zip(classes, present.any(1), strict=True) if not seen]
    if hidden:
        raise DatasetError(
            f"expected every class in the annotated frames, never visible: {', '.join(hidden)}"
        )


def _foreground(model: OflSam2, encoded: EncodedFrames) -> Tensor | None:
    shown = encoded.mask[:, 0].amax(dim=0)
    assert model.instance_head is not None
    features = frame_features(encoded, 0)
    image, counted = encoded.image[:1], encoded.counted[0]
    return followed_foreground(model.instance_head, features, image, shown, counted)


def _pixel_names(encoded: EncodedFrames, weight: float) -> PixelNames | None:
    statistics = name_statistics(encoded)
    if statistics is None or weight <= 0:
        return None
    return PixelNames(fit_pixel_names(statistics), weight, statistics.normalized())


@torch.no_grad()
def _start(
    model: OflSam2, encoded: EncodedFrames, held_out: list[HeldOut], ridge: float
) -> LearnerStart:
    anchor = total_statistics(encoded).normalized()
    tau = ridge_solution(anchor, ridge)
    tolerance, surprise = guard_limits(encoded, held_out, ridge, model.config.learner)
    return LearnerStart(tau, anchor, ridge, tolerance, surprise)


def _support_set(encoded: EncodedFrames) -> SupportSet:
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

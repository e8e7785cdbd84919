"""One stream's state: `step(image) -> Segmentation`, and freeze, rollback, reset.

`step` is `look`, which answers, and `learn`, which a live caller does after handing the masks on.

A step: image -> Hiera features; memory attention over the bank gives E1, the mapping network E2;
the fusion of both goes into the frozen mask decoder. A class whose calibrated confidence reaches
gamma updates its memory ring and its mapping network; below gamma neither moves. An update that
raises the loss on the annotated samples beyond the profile's tolerance, or is not finite, is
undone together with its memory entry. Step time and memory are constant.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone import DecodedMasks, ImageFeatures
from models.checkpoint import LoadedWeights
from models.engines.engine import Engine, EngineChoice, open_engine
from models.errors import ProfileError, StepError
from models.learner import LearnerSnapshot, LearnerState, OnlineLearner
from models.mapper import Statistics, apply_mapper, describe, token_weights
from models.memory_bank import BankShape, MemoryBank
from models.naming import Naming, name_masks
from models.ofl_sam2 import Entries, OflSam2, own_target
from models.placement import placed
from models.preprocess import class_map, to_input
from models.profile import Profile, load_profile
from models.types import ClassResult, ClassSpec, Segmentation, UInt8Array, Update
from models.weight_source import WeightSource


@dataclass(frozen=True)
class Parts:
    """What of the method is on; the ablations of the paper turn parts off.

    memory: use E1; learner: use E2; fusion: weigh them by the fitted gate, otherwise average them
    naming: let the mapping network's indicator help to name, if the profile has one
    online: update on confident frames; gamma: None keeps the profile's
    """

    memory: bool = True
    learner: bool = True
    fusion: bool = True
    naming: bool = True
    online: bool = True
    gamma: float | None = None


@dataclass(frozen=True)
class _Pass:
    """One frame through the network."""

    features: ImageFeatures
    described: Tensor
    decoded: DecodedMasks
    certainty: Tensor  # (C,) of the name


@dataclass(frozen=True)
class _Lesson:
    """A frame that has been answered and not yet learnt from.

    undone: before it the state was rolled back, see `_sound_pass`
    """

    seen: _Pass
    confidence: Tensor
    present: Tensor
    undone: bool


@dataclass(frozen=True)
class _Saved:
    learner: LearnerSnapshot
    bank: tuple[Tensor, ...]


@dataclass(frozen=True)
class StreamState:
    """Everything that the frames of a stream have changed."""

    learner: LearnerSnapshot
    bank: tuple[Tensor, ...]
    frame: int
    since_snapshot: int
    saved: tuple[_Saved, ...]


SNAPSHOT_EVERY = 50  # accepted frames between the states that rollback() returns to


class Tracker:
    """Segments one stream, frame by frame, without prompts."""

    def __init__(
        self,
        weights: LoadedWeights,
        profile: Profile,
        parts: Parts | None = None,
        engine: EngineChoice | None = None,
    ) -> None:
        """engine: None is torch. Raises ProfileError, EngineError."""
        if profile.backbone != weights.name:
            raise ProfileError(
                f"profile was fitted for backbone {profile.backbone}, this one is {weights.name}"
            )
        if profile.backbone_sha256 != weights.sha256:
            raise ProfileError(
                f"profile was fitted on weights {profile.backbone_sha256[:12]}, "
                f"these are {weights.sha256[:12]}: fit it again"
            )
        self._parts = parts or Parts()
        self._model = _with_profile(weights.model, profile)
        self._gamma = profile.learner.gamma if self._parts.gamma is None else self._parts.gamma
        backbone = self._model.config.backbone
        shape = BankShape.of(len(profile.classes), profile.memory, backbone)
        self.engine: Engine = open_engine(engine or EngineChoice("torch"), weights, shape)
        device = self.engine.device
        self._profile = profile = placed(profile, device)
        self._model.fusion.to(device)
        self._lesson: _Lesson | None = None
        self._bank = MemoryBank(shape, profile.memory.max_pointer_distance, device)
        self._learner = OnlineLearner(profile.start, profile.learner)
        self._frozen = not self._parts.online
        self._frame = 0
        self._since_snapshot = 0
        self._saved: list[_Saved] = []

    @classmethod
    def open(
        cls,
        profile: str | Path = "instrument",
        *,
        online: bool = True,
        gamma: float | None = None,
        threads: int | None = None,
        engine: str = "auto",
        weights: WeightSource | None = None,
    ) -> Tracker:
        """A tracker on the backbone that the profile was fitted on.

        profile: "instrument", "phantom" or a file that `trocar fit` wrote; engine: see open_engine
        weights: where those of an official backbone are; None looks in the usual folder
        Raises ProfileError, CheckpointError, EngineError.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        loaded = load_profile(profile)
        parts = Parts(online=online, gamma=gamma)
        found = (weights or WeightSource()).load(loaded.backbone)
        return cls(found, loaded, parts, EngineChoice(engine))

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The profile's classes, in the order of a segmentation's results."""
        return self._profile.classes

    @property
    def gamma(self) -> float:
        """Confidence from which a frame teaches."""
        return self._gamma

    @property
    def frozen(self) -> bool:
        """Is the learner frozen?"""
        return self._frozen

    @property
    def state_bytes(self) -> int:
        """Bytes of this stream's state with all its snapshots; constant, see docs/method.md."""
        return 3 * (self._bank.nbytes + self._learner.nbytes)

    def freeze(self, frozen: bool = True) -> None:
        """Stop learning (or go on); segmenting continues either way."""
        self._frozen = frozen

    def rollback(self) -> None:
        """Go back to the learner of 50 to 100 accepted frames ago, or to the profile."""
        if not self._saved:
            self._learner.reset()
            self._bank.forget_recent()
            return
        saved = self._saved[0]
        self._learner.restore(saved.learner)
        self._bank.restore(saved.bank)
        self._saved.clear()
        self._since_snapshot = 0

    def save(self) -> LearnerState:
        """What was learnt, to be given to another tracker of the same profile."""
        return self._learner.snapshot().arrays()

    def load(self, state: LearnerState) -> None:
        """Go on with what another tracker had learnt; its memories are not part of it."""
        self._learner.restore(LearnerSnapshot.of(state))

    def remember(self) -> StreamState:
        """The stream as it stands, to be gone on from more than once: a volume has two halves."""
        learner, bank = self._learner.snapshot(), self._bank.snapshot()
        return StreamState(learner, bank, self._frame, self._since_snapshot, tuple(self._saved))

    def return_to(self, state: StreamState) -> None:
        """Go on as if nothing had come since. The annotated frames stay those of the first frame.

        state: of this tracker, and not from before a `reset`
        """
        self._lesson = None
        self._learner.restore(state.learner)
        self._bank.restore(state.bank)
        self._frame, self._since_snapshot = state.frame, state.since_snapshot
        self._saved = list(state.saved)

    def reset(self) -> None:
        """Forget the stream: the state is the profile's again."""
        self._lesson = None
        self._learner.reset()
        self._bank.forget_recent()
        self._saved.clear()
        self._frame = 0
        self._since_snapshot = 0

    def step(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment the next frame and learn from it. image_rgb: (H, W, 3) uint8"""
        started = time.perf_counter()
        answer = self.look(image_rgb)
        results = tuple(
            replace(result, update=update)
            for result, update in zip(answer.results, self.learn(), strict=True)
        )
        return Segmentation(answer.class_map, results, (time.perf_counter() - started) * 1e3)

    @torch.inference_mode()
    def look(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment the next frame; `learn` may follow. image_rgb: (H, W, 3) uint8

        Raises StepError: the network's answer is not a number, whatever was learnt.
        """
        started = time.perf_counter()
        seen, undone = self._sound_pass(image_rgb)
        decoded = seen.decoded
        confidence = self._profile.calibration(raw_confidence(decoded, seen.certainty))
        present = (decoded.object_logit > 0) & (decoded.mask_logits.amax(dim=(1, 2, 3)) > 0)
        self._lesson = _Lesson(seen, confidence, present, undone)
        classes = self._class_map(decoded, present, image_rgb.shape[:2])
        results = self._results(classes, present, confidence)
        self._frame += 1
        return Segmentation(classes, results, (time.perf_counter() - started) * 1e3)

    @torch.inference_mode()
    def learn(self) -> tuple[Update, ...]:
        """Learn from the frame last looked at, once; what became of it, per class."""
        lesson, self._lesson = self._lesson, None
        if lesson is None or self._frozen:
            return (Update.FROZEN,) * len(self.classes)
        if lesson.undone:
            return (Update.ROLLED_BACK,) * len(self.classes)
        finite = torch.isfinite(lesson.confidence) & torch.isfinite(lesson.seen.described).all()
        sure = lesson.confidence >= self._gamma
        rows = torch.nonzero(lesson.present & finite & sure).flatten()
        updates = [Update.REFUSED] * len(self.classes)
        if len(rows) == 0:
            return tuple(updates)
        kept = self._teach(lesson.seen, rows)
        for row, good in zip(rows.tolist(), kept.tolist(), strict=True):
            updates[row] = Update.ACCEPTED if good else Update.ROLLED_BACK
        if bool(kept.any()):
            self._remember_state()
        return tuple(updates)

    def _teach(self, seen: _Pass, rows: Tensor) -> Tensor:
        """Update mapping networks and bank of these rows; which updates were kept, (n,) bool."""
        entries, fresh = lesson_of(self.engine, seen.features, seen.described, seen.decoded, rows)
        kept = self._learner.update(rows, fresh)
        good = Entries(entries.memory[kept], entries.pointer[kept])
        self._bank.push(rows[kept], good, self._frame - 1)
        return kept

    def _sound_pass(self, image_rgb: UInt8Array) -> tuple[_Pass, bool]:
        """One frame through the network; whether what was learnt had to be undone for it.

        NaN in a mapping network or a memory would not show: attention swallows it, and what is
        left looks like a frame without instruments, in this and every later frame.
        """
        seen = self._pass(image_rgb)
        if _is_sound(seen):
            return seen, False
        for undo in (self.rollback, self.reset):
            undo()
            seen = self._pass(image_rgb)
            if _is_sound(seen):
                return seen, True
        raise StepError("expected masks that are numbers, got others with the profile's own state")

    def _pass(self, image_rgb: UInt8Array) -> _Pass:
        backbone, engine = self._model.backbone, self.engine
        image = backbone.normalize(to_input(image_rgb, engine.config.image_size, engine.device))
        features = engine.encode_image(image)
        described = describe(features.stride16, image, self._model.config.learner)
        if self._frame == 0:
            self._choose_support(features)
        decoded = engine.decode_masks(self._condition(features, described), features)
        decoded = decoded.shifted(self._profile.object_offset)
        certainty = torch.ones_like(decoded.iou)
        naming = self._profile.naming
        if naming is not None and self._parts.learner and self._parts.naming:
            decoded, certainty = apply_naming(naming, features, image, decoded)
        return _Pass(features, described, decoded, certainty)

    def _condition(self, features: ImageFeatures, described: Tensor) -> Tensor:
        parts = self._parts
        mapped = apply_mapper(self._learner.tau, described)
        if not parts.memory:
            return mapped
        bank = self._bank.tensors(self._frame)
        attended = self.engine.attend_memory(features.stride16, bank)
        if not parts.learner:
            return attended
        if not parts.fusion:
            return (attended + mapped) / 2
        return self._model.fusion.forward(attended, mapped)

    def _choose_support(self, features: ImageFeatures) -> None:
        pooled = pool_features(features.stride16)[0]
        for row in range(len(self.classes)):
            entries = self._profile.support.most_similar(row, pooled, self._profile.memory.support)
            self._bank.set_support(row, entries)

    def _remember_state(self) -> None:
        self._since_snapshot += 1
        if self._since_snapshot >= SNAPSHOT_EVERY or not self._saved:
            self._since_snapshot = 0
            saved = _Saved(self._learner.snapshot(), self._bank.snapshot())
            self._saved = [*self._saved[-1:], saved]

    def _class_map(
        self, decoded: DecodedMasks, present: Tensor, shape: tuple[int, ...]
    ) -> UInt8Array:
        rows = torch.nonzero(present).flatten().tolist()
        logits = decoded.mask_logits[rows, 0].float().cpu().numpy()
        ids = [self.classes[row].class_id for row in rows]
        return class_map(logits, ids, (shape[0], shape[1]))

    def _results(
        self, classes: UInt8Array, present: Tensor, confidence: Tensor
    ) -> tuple[ClassResult, ...]:
        ids = [spec.class_id for spec in self.classes]
        areas = [int(np.count_nonzero(classes == one)) / classes.size for one in ids]
        return tuple(
            ClassResult(class_id, there and area > 0, sure, area, Update.PENDING)
            for class_id, there, sure, area in zip(
                ids, present.tolist(), confidence.tolist(), areas, strict=True
            )
        )


def _is_sound(seen: _Pass) -> bool:
    return bool(torch.isfinite(seen.decoded.mask_logits).all())


def lesson_of(
    engine: Engine,
    features: ImageFeatures,
    described: Tensor,
    decoded: DecodedMasks,
    rows: Tensor,
) -> tuple[Entries, Statistics]:
    """What a frame with masks taken as true teaches: memory entries and mapping statistics.

    features, described of one frame; decoded of C rows; rows: (n,) the rows taken as true
    """
    logits = decoded.mask_logits[rows]
    memory = engine.encode_memory(features.stride16, logits, decoded.object_logit[rows] > 0)
    entries = Entries(memory, decoded.pointer[rows])
    target = own_target(engine, features.stride16, entries)
    mask = (logits[:, 0] > 0).float()
    weight = token_weights(mask, engine.config.grid)[:, None]
    fresh = Statistics.of(described.flatten(2)[None], target.flatten(2)[:, None], weight)
    return entries, fresh.normalized()


def apply_naming(
    naming: Naming, features: ImageFeatures, image: Tensor, decoded: DecodedMasks
) -> tuple[DecodedMasks, Tensor]:
    """The rows' masks after naming, and how certain each name is, (C,)."""
    named = name_masks(naming, features.stride16, image, decoded.gated())
    shown = named.mask_logits.amax(dim=(1, 2, 3)) > 0
    logit = torch.where(shown, decoded.object_logit.clamp_min(0.1), decoded.object_logit)
    return replace(decoded, mask_logits=named.mask_logits, object_logit=logit), named.certainty


def raw_confidence(decoded: DecodedMasks, certainty: Tensor) -> Tensor:
    """Predicted IoU times object score times certainty of the name, before calibration. (C,)"""
    return decoded.iou * decoded.object_logit.sigmoid() * certainty


def pool_features(stride16: Tensor) -> Tensor:
    """Unit-length mean feature of each frame, for retrieval. (B, D, h, w) -> (B, D)"""
    return F.normalize(stride16.mean(dim=(2, 3)), dim=1)


def _with_profile(model: OflSam2, profile: Profile) -> OflSam2:
    """A view of the model with the profile's fusion; the backbone's weights are shared."""
    config = replace(model.config, learner=profile.learner, memory=profile.memory)
    own = OflSam2.sharing(model, config)
    try:
        own.fusion.load_state_dict(profile.fusion)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ProfileError(f"profile's fusion does not fit this backbone: {reason}") from error
    own.eval().requires_grad_(False)
    return own

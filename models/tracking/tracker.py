"""One stream's state: `step(image) -> Segmentation`, and freeze, rollback, reset, lessons.

`step` is `segment`, which predicts, and `update`, which a live caller does once masks are out.

How a frame becomes masks, and what it then teaches, is a strategy's (`strategy.py`), as the
profile's mode says. Only a class whose calibrated confidence reaches gamma teaches, and an update
that the guard objects to is undone; what a person teaches is believed. Step time and memory are
constant.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from models.backbone.image_input import resize_mask
from models.backbone.memory_bank import BankShape
from models.engines.interface import Engine, EngineChoice, one_pool
from models.engines.open import open_engine
from models.errors import LessonError, ProfileError, StepError
from models.instances.instance_classifier import InstanceClassifier
from models.instances.mask_follower import MaskFollower
from models.instances.small_regions import rule_for
from models.method.adapted_head import with_own_head
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from models.method.profile import Mode, Profile, load_profile
from models.method.prompts import segment_clicks
from models.method.weight_source import WeightSource
from models.tensor_tree import module_on, placed
from models.tracking.ablation import Ablation
from models.tracking.head_strategy import HeadStrategy
from models.tracking.memory_strategy import MemoryStrategy
from models.tracking.postprocess import Postprocessed, postprocess
from models.tracking.prepared_frame import FramePreparer
from models.tracking.strategy import LessonMasks, PreparedFrame, Strategy
from models.types import (
    IGNORE_ID,
    ClassResult,
    ClassSpec,
    Click,
    LearnerState,
    Segmentation,
    UInt8Array,
    Update,
)


@dataclass(frozen=True)
class StreamState:
    """Everything that the frames of a stream have changed. strategy: see Strategy.snapshot"""

    strategy: Any
    frame: int


class Tracker:
    """Segments one stream, frame by frame, without prompts."""

    def __init__(
        self,
        weights: LoadedWeights,
        profile: Profile,
        ablation: Ablation | None = None,
        engine: Engine | EngineChoice | None = None,
    ) -> None:
        """engine: one opened by `open_engine_for`, or which to open; None is torch.

        Raises ProfileError, EngineError.
        """
        _require_fit(profile, weights)
        self._weights = weights = with_own_head(weights, profile.head, len(profile.classes))
        self._ablation = ablation or Ablation()
        own_gamma = self._ablation.gamma
        self._gamma = profile.learner.gamma if own_gamma is None else own_gamma
        mode = _mode(weights.model, profile, self._ablation)
        if engine is None or isinstance(engine, EngineChoice):
            engine = _opened(weights, profile, mode, engine)
        self.engine: Engine = engine
        self._profile = profile = placed(profile, engine.device)
        model = _with_profile(weights.model, profile)
        model.fusion.to(engine.device)
        self.strategy: Strategy[Any] = _strategy(engine, model, profile, self._ablation, mode)
        self._preparer = FramePreparer(engine, model.backbone, self.strategy)
        self._confident: list[bool] | None = None  # of the frame last segmented; None: it is past
        self._undone = False  # before that frame the learner had to be rolled back
        self._frozen = not self._ablation.online
        self._frame = 0

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
        learn_all: bool = False,
    ) -> Tracker:
        """A tracker on the backbone that the profile was fitted on.

        profile: "instrument", "phantom" or a file that `trocar fit` wrote; engine: see open_engine
        weights: where those of an official backbone are; None looks in the usual folder
        learn_all: see Ablation.for_video
        Raises ProfileError, CheckpointError, EngineError.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        loaded = load_profile(profile)
        ablation = Ablation.for_video(online=online, gamma=gamma, learn_all=learn_all)
        found = (weights or WeightSource()).load(loaded.backbone)
        return cls(found, loaded, ablation, EngineChoice(engine))

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
        return self.strategy.nbytes

    def freeze(self, frozen: bool = True) -> None:
        """Stop learning (or go on); segmenting and lessons continue either way."""
        self._frozen = frozen

    def rollback(self) -> None:
        """Go back to the learner of 50 to 100 accepted updates ago, or to the profile."""
        self.strategy.roll_back()

    def save(self) -> LearnerState:
        """What was learnt, to be given to another tracker of the same profile."""
        return self.strategy.save()

    def load(self, state: LearnerState) -> None:
        """Go on with what another tracker had learnt; its memories are not part of it."""
        self.strategy.load(state)

    def snapshot(self) -> StreamState:
        """The stream as it stands, to be gone on from more than once: a volume has two halves."""
        return StreamState(self.strategy.snapshot(), self._frame)

    def restore(self, state: StreamState) -> None:
        """Go on as if nothing had come since. The annotated frames stay those of the first frame.

        state: of this tracker, and not from before a `reset`
        """
        self._confident = None
        self.strategy.restore(state.strategy)
        self._frame = state.frame

    def reset(self) -> None:
        """Forget the stream: the state is the profile's again."""
        self._confident = None
        self.strategy.reset()
        self._frame = 0

    def step(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame and learn from it. image_rgb: (H, W, 3) uint8"""
        found = self.segment(image_rgb)
        started = time.perf_counter()
        pairs = zip(found.results, self.update(), strict=True)
        results = tuple(replace(result, update=update) for result, update in pairs)
        step_ms = found.step_ms + (time.perf_counter() - started) * 1e3
        return Segmentation(found.class_map, results, step_ms)

    @torch.inference_mode()
    def prepare(self, image_rgb: UInt8Array) -> PreparedFrame[Any]:
        """The part of `segment` that may run ahead of it, in order or not. image_rgb: (H, W, 3)"""
        started = time.perf_counter()
        with one_pool(self.engine):
            prepared = self._preparer.prepare(image_rgb)
        took_ms = (time.perf_counter() - started) * 1e3
        return PreparedFrame((image_rgb.shape[0], image_rgb.shape[1]), prepared, took_ms)

    @torch.inference_mode()
    def segment(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame; `update` may follow. image_rgb: (H, W, 3) uint8

        Raises StepError: the network's prediction is not a number, whatever was learnt.
        """
        frame = image_rgb if isinstance(image_rgb, PreparedFrame) else self.prepare(image_rgb)
        started = time.perf_counter()
        with one_pool(self.engine):
            found, self._undone = self._sound_prediction(frame)
        pairs = zip(found.present, found.confidence, strict=True)
        self._confident = [there and confidence >= self._gamma for there, confidence in pairs]
        results = self._results(found)
        self._frame += 1
        step_ms = frame.took_ms + (time.perf_counter() - started) * 1e3
        return Segmentation(found.class_map, results, step_ms)

    @torch.inference_mode()
    def update(self) -> tuple[Update, ...]:
        """Learn from the frame last segmented, once; what its time brought, per class."""
        confident, self._confident = self._confident, None
        if confident is None or self._frozen:
            return (Update.FROZEN,) * len(self.classes)
        if self._undone:
            return (Update.ROLLED_BACK,) * len(self.classes)
        with one_pool(self.engine):
            return self.strategy.update(confident, self._frame - 1)

    @torch.inference_mode()
    def teach(self, image_rgb: UInt8Array, class_map: UInt8Array) -> None:
        """Learn what a person says of a frame of this stream; felt in the next frames.

        image_rgb: (H, W, 3); class_map: (H, W) class ids, 0 where there is no instrument,
        IGNORE_ID where nothing is said
        Raises LessonError: another size, an id that is no class's, or nothing said at all.
        """
        lesson = self._lesson_masks(image_rgb, class_map)
        frame = self.prepare(image_rgb)
        with one_pool(self.engine):
            self.strategy.teach(frame.prepared, lesson)

    @torch.inference_mode()
    def take_back(self) -> bool:
        """Undo the last lesson, and what was learnt since; False: there is none."""
        return self.strategy.take_back()

    @torch.inference_mode()
    def segment_clicks(
        self, image_rgb: UInt8Array, clicks: Sequence[Click]
    ) -> npt.NDArray[np.bool_]:
        """The instrument that somebody points at, (H, W); see models/method/prompts.py.

        Raises ModelError: weights without the heads for it, or clicks that are none.
        """
        with one_pool(self.engine):
            return segment_clicks(self._weights, image_rgb, clicks)

    def _lesson_masks(self, image_rgb: UInt8Array, class_map: UInt8Array) -> LessonMasks:
        if class_map.shape != image_rgb.shape[:2]:
            wanted = "x".join(map(str, image_rgb.shape[1::-1]))
            found = "x".join(map(str, class_map.shape[::-1]))
            raise LessonError(f"expected a lesson of the frame's size, {wanted}, got {found}")
        ids = [spec.class_id for spec in self.classes]
        unknown = sorted({int(one) for one in np.unique(class_map)} - {0, IGNORE_ID, *ids})
        if unknown:
            known = ", ".join(map(str, ids))
            raise LessonError(f"expected class ids of {known}, 0 or 255, got {unknown[0]}")
        if (class_map == IGNORE_ID).all():
            raise LessonError("expected a lesson that says something, all of it is 255")
        size = self.engine.config.image_size
        planes = [(class_map == one).astype(np.uint8) for one in ids]
        mask = torch.from_numpy(np.stack([resize_mask(one, size) for one in planes])).float()
        counted = torch.from_numpy(resize_mask((class_map != IGNORE_ID).astype(np.uint8), size))
        device = self.engine.device
        return LessonMasks(mask.to(device), counted.float().to(device))

    def _sound_prediction(self, frame: PreparedFrame[Any]) -> tuple[Postprocessed, bool]:
        """A frame's masks; whether what was learnt had to be undone for them.

        NaN in a mapping network or a memory would not show: attention swallows it, and what is
        left looks like a frame without instruments, in this and every later frame.
        """
        found = self._predict(frame)
        if found is not None:
            return found, False
        for undo in (self.rollback, self.reset):
            undo()
            found = self._predict(frame)
            if found is not None:
                return found, True
        raise StepError("expected masks that are numbers, got others with the profile's own state")

    def _predict(self, frame: PreparedFrame[Any]) -> Postprocessed | None:
        prediction = self.strategy.predict(frame.prepared, self._frame)
        ids = [spec.class_id for spec in self.classes]
        there = self.engine.own_pictures
        return postprocess(prediction, self._profile.calibration, ids, frame.size, on_device=there)

    def _results(self, found: Postprocessed) -> tuple[ClassResult, ...]:
        each = zip(self.classes, found.present, found.confidence, found.area, strict=True)
        return tuple(
            ClassResult(spec.class_id, there and area > 0, sure, area, Update.PENDING)
            for spec, there, sure, area in each
        )


def open_engine_for(
    weights: LoadedWeights,
    profile: Profile,
    ablation: Ablation | None = None,
    choice: EngineChoice | None = None,
) -> Engine:
    """The engine that a tracker of this profile runs on. choice: None is torch

    Raises EngineError.
    """
    weights = with_own_head(weights, profile.head, len(profile.classes))
    return _opened(weights, profile, _mode(weights.model, profile, ablation or Ablation()), choice)


def _opened(
    weights: LoadedWeights, profile: Profile, mode: Mode, choice: EngineChoice | None
) -> Engine:
    shape = BankShape.of(len(profile.classes), profile.memory, weights.model.config.backbone)
    choice = choice or EngineChoice("torch")
    return open_engine(choice, weights, shape, rows=mode is not Mode.HEAD)


def _require_fit(profile: Profile, weights: LoadedWeights) -> None:
    if profile.backbone != weights.name:
        raise ProfileError(
            f"profile was fitted for backbone {profile.backbone}, this one is {weights.name}"
        )
    if profile.backbone_sha256 != weights.sha256:
        raise ProfileError(
            f"profile was fitted on weights {profile.backbone_sha256[:12]}, "
            f"these are {weights.sha256[:12]}: fit it again"
        )


def _mode(model: OflSam2, profile: Profile, ablation: Ablation) -> Mode:
    """The profile's, but for what the ablation turns off or the weights lack."""
    instances = ablation.learner and ablation.naming and ablation.instances
    if profile.mode.instances and not (instances and model.instance_head is not None):
        return Mode.PIXELS
    return profile.mode


def _strategy(
    engine: Engine, model: OflSam2, profile: Profile, ablation: Ablation, mode: Mode
) -> Strategy[Any]:
    if not mode.instances:
        return MemoryStrategy(engine, model, profile, ablation, None)
    assert model.instance_head is not None
    head, classes = module_on(model.instance_head, engine.device), len(profile.classes)
    if mode is Mode.FOLLOW:
        assert profile.foreground is not None
        follower = MaskFollower(head, classes, profile.foreground)
        return MemoryStrategy(engine, model, profile, ablation, follower)
    assert profile.exemplars is not None
    rule = rule_for(classes, adapted=profile.head is not None)
    classifier = InstanceClassifier(head, profile.exemplars, classes, profile.head_weight, rule)
    if mode is Mode.HEAD:
        return HeadStrategy(engine, classifier, classes, profile.learner)
    return MemoryStrategy(engine, model, profile, ablation, classifier)


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

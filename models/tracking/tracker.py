"""One stream's state: `step(image) -> Segmentation`, and freeze, rollback, reset.

`step` is `segment`, which predicts, and `update`, which a live caller does once masks are out.

How a frame becomes masks, and what it then teaches, is one of two ways (`answering.py`): by the
rows of OFL-SAM2, or by the instance head alone, as the profile's held-out frames decided. Only a
class whose calibrated confidence reaches gamma teaches. An update that the way's guard objects to
is undone. Step time and memory are constant.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.backbone.memory_bank import BankShape
from models.engines.interface import Engine, EngineChoice, one_pool, open_engine
from models.errors import ProfileError, StepError
from models.instances.instance_classifier import InstanceClassifier
from models.instances.mask_follower import MaskFollower
from models.learner.online_learner import LearnerState
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from models.method.profile import Profile, load_profile
from models.method.weight_source import WeightSource
from models.tensor_tree import module_on, placed
from models.tracking.ablation import Ablation
from models.tracking.head_strategy import SURE_NAME, HeadStrategy
from models.tracking.memory_strategy import MemoryStrategy
from models.tracking.postprocess import Postprocessed, postprocess
from models.tracking.prepared_frame import FramePreparer
from models.tracking.strategy import PreparedFrame, Strategy
from models.tracking.stream_state import Lesson, StreamState
from models.types import ClassResult, ClassSpec, Segmentation, UInt8Array, Update


class Tracker:
    """Segments one stream, frame by frame, without prompts."""

    def __init__(
        self,
        weights: LoadedWeights,
        profile: Profile,
        ablation: Ablation | None = None,
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
        self._ablation = ablation or Ablation()
        self._model = _with_profile(weights.model, profile)
        self._gamma = (
            profile.learner.gamma if self._ablation.gamma is None else self._ablation.gamma
        )
        backbone = self._model.config.backbone
        shape = BankShape.of(len(profile.classes), profile.memory, backbone)
        head_alone = _head_alone(self._model, profile, self._ablation)
        choice = engine or EngineChoice("torch")
        self.engine: Engine = open_engine(choice, weights, shape, rows=not head_alone)
        device = self.engine.device
        self._profile = profile = placed(profile, device)
        self._model.fusion.to(device)
        self.strategy: Strategy[Any] = _strategy(self.engine, self._model, profile, self._ablation)
        self._ahead = FramePreparer(self.engine, self._model.backbone)
        self._lesson: Lesson | None = None
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
        learn_all: see Parts.for_video
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
        """Stop learning (or go on); segmenting continues either way."""
        self._frozen = frozen
        self.strategy.drop()

    def rollback(self) -> None:
        """Go back to the learner of 50 to 100 accepted lessons ago, or to the profile."""
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
        self._lesson = None
        self.strategy.restore(state.strategy)
        self._frame = state.frame

    def reset(self) -> None:
        """Forget the stream: the state is the profile's again."""
        self._lesson = None
        self.strategy.reset()
        self._frame = 0

    def step(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame and learn from it. image_rgb: (H, W, 3) uint8"""
        prediction = self.segment(image_rgb)
        started = time.perf_counter()
        results = tuple(
            replace(result, update=update)
            for result, update in zip(prediction.results, self.update(), strict=True)
        )
        step_ms = prediction.step_ms + (time.perf_counter() - started) * 1e3
        return Segmentation(prediction.class_map, results, step_ms)

    @torch.inference_mode()
    def prepare(self, image_rgb: UInt8Array) -> PreparedFrame[Any]:
        """The part of `segment` that may run ahead of it, in order or not. image_rgb: (H, W, 3)"""
        started = time.perf_counter()
        with one_pool(self.engine):
            ahead = self._ahead.prepare(self.engine, self.strategy, image_rgb)
        took_ms = (time.perf_counter() - started) * 1e3
        size = (image_rgb.shape[0], image_rgb.shape[1])
        return PreparedFrame(size, ahead, took_ms)

    @torch.inference_mode()
    def segment(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame; `update` may follow. image_rgb: (H, W, 3) uint8

        Raises StepError: the network's answer is not a number, whatever was learnt.
        """
        frame = image_rgb if isinstance(image_rgb, PreparedFrame) else self.prepare(image_rgb)
        with one_pool(self.engine):
            return self._look(frame)

    def _look(self, frame: PreparedFrame[Any]) -> Segmentation:
        started = time.perf_counter()
        found, undone = self._sound_answer(frame)
        pairs = zip(found.present, found.confidence, strict=True)
        sure = [
            found.learnable and there and confidence >= self._gamma for there, confidence in pairs
        ]
        self._lesson = Lesson(sure, undone)
        results = self._results(found)
        self._frame += 1
        step_ms = frame.took_ms + (time.perf_counter() - started) * 1e3
        return Segmentation(found.class_map, results, step_ms)

    @torch.inference_mode()
    def update(self) -> tuple[Update, ...]:
        """Learn from the frame last looked at, once; what its time brought, per class.

        In instalments that may be a stage of an earlier frame's lesson.
        """
        lesson, self._lesson = self._lesson, None
        if lesson is None or self._frozen:
            return (Update.FROZEN,) * len(self.classes)
        if lesson.undone:
            return (Update.ROLLED_BACK,) * len(self.classes)
        with one_pool(self.engine):
            return self.strategy.update(self.engine, lesson.sure, self._frame - 1)

    def _sound_answer(self, frame: PreparedFrame[Any]) -> tuple[Postprocessed, bool]:
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
        prediction = self.strategy.predict(self.engine, frame, self._frame)
        ids = [spec.class_id for spec in self.classes]
        there = self.engine.own_pictures
        return postprocess(prediction, self._profile.calibration, ids, frame.size, on_device=there)

    def _results(self, found: Postprocessed) -> tuple[ClassResult, ...]:
        each = zip(self.classes, found.present, found.confidence, found.area, strict=True)
        return tuple(
            ClassResult(spec.class_id, there and area > 0, sure, area, Update.PENDING)
            for spec, there, sure, area in each
        )


def _has_head(model: OflSam2, ablation: Ablation) -> bool:
    wanted = ablation.learner and ablation.naming and ablation.instances
    return wanted and model.instance_head is not None


def _head_alone(model: OflSam2, profile: Profile, ablation: Ablation) -> bool:
    """Are frames answered by the instance head alone?"""
    exemplars = profile.exemplars if profile.foreground is None else None
    return _has_head(model, ablation) and exemplars is not None and exemplars.unaided


def _strategy(
    engine: Engine, model: OflSam2, profile: Profile, ablation: Ablation
) -> Strategy[Any]:
    labeler: InstanceClassifier | MaskFollower | None = None
    rows = len(profile.classes)
    if model.instance_head is not None and _has_head(model, ablation):
        head = module_on(model.instance_head, engine.device)
        if profile.foreground is not None:
            labeler = MaskFollower(head, rows, profile.foreground)
        elif profile.exemplars is not None:
            labeler = InstanceClassifier(head, profile.exemplars)
    if isinstance(labeler, InstanceClassifier) and labeler.exemplars.unaided:
        guarded = bool(torch.isfinite(profile.start.tolerance).all())
        blind = ablation.gamma == 0  # everything teaches: the ablation
        return HeadStrategy(labeler, rows, sure_name=0.0 if blind else SURE_NAME, guarded=guarded)
    return MemoryStrategy(engine, model, profile, ablation, labeler)


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

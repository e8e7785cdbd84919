"""One stream's state: `step(image) -> Segmentation`, and freeze, rollback, reset.

`step` is `look`, which answers, and `learn`, which a live caller does after handing the masks on.

How a frame becomes masks, and what it then teaches, is one of two ways (`answering.py`): by the
rows of OFL-SAM2, or by the parting head alone, as the profile's held-out frames decided. Only a
class whose calibrated confidence reaches gamma teaches. An update that the way's guard objects to
is undone. Step time and memory are constant.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from models.adapted_head import with_own_head
from models.ahead import Ahead
from models.answering import Answering, PreparedFrame
from models.by_head import SURE_NAME, ByHead
from models.by_rows import ByRows
from models.checkpoint import LoadedWeights
from models.engines.engine import Engine, EngineChoice, one_pool, open_engine
from models.errors import ProfileError, StepError
from models.finish import Finished, finish
from models.following import Follower
from models.instance_naming import InstanceNamer
from models.learner import LearnerState
from models.memory_bank import BankShape
from models.ofl_sam2 import OflSam2
from models.parts import Parts
from models.placement import module_on, placed
from models.profile import Profile, load_profile
from models.specks import rule_for
from models.stream import Lesson, StreamState
from models.types import ClassResult, ClassSpec, Segmentation, UInt8Array, Update
from models.weight_source import WeightSource


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
        weights = with_own_head(weights, profile.head, len(profile.classes))
        self._parts = parts or Parts()
        self._model = _with_profile(weights.model, profile)
        self._gamma = profile.learner.gamma if self._parts.gamma is None else self._parts.gamma
        backbone = self._model.config.backbone
        shape = BankShape.of(len(profile.classes), profile.memory, backbone)
        by_head = _by_head(self._model, profile, self._parts)
        choice = engine or EngineChoice("torch")
        self.engine: Engine = open_engine(choice, weights, shape, rows=not by_head)
        device = self.engine.device
        self._profile = profile = placed(profile, device)
        self._model.fusion.to(device)
        self.way: Answering[Any] = _way(self.engine, self._model, profile, self._parts)
        self._ahead = Ahead(self.engine, self._model.backbone)
        self._lesson: Lesson | None = None
        self._frozen = not self._parts.online
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
        parts = Parts.for_video(online=online, gamma=gamma, learn_all=learn_all)
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
        return self.way.nbytes

    def freeze(self, frozen: bool = True) -> None:
        """Stop learning (or go on); segmenting continues either way."""
        self._frozen = frozen
        self.way.drop()

    def rollback(self) -> None:
        """Go back to the learner of 50 to 100 accepted lessons ago, or to the profile."""
        self.way.roll_back()

    def save(self) -> LearnerState:
        """What was learnt, to be given to another tracker of the same profile."""
        return self.way.save()

    def load(self, state: LearnerState) -> None:
        """Go on with what another tracker had learnt; its memories are not part of it."""
        self.way.load(state)

    def remember(self) -> StreamState:
        """The stream as it stands, to be gone on from more than once: a volume has two halves."""
        return StreamState(self.way.remember(), self._frame)

    def return_to(self, state: StreamState) -> None:
        """Go on as if nothing had come since. The annotated frames stay those of the first frame.

        state: of this tracker, and not from before a `reset`
        """
        self._lesson = None
        self.way.return_to(state.way)
        self._frame = state.frame

    def reset(self) -> None:
        """Forget the stream: the state is the profile's again."""
        self._lesson = None
        self.way.reset()
        self._frame = 0

    def step(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame and learn from it. image_rgb: (H, W, 3) uint8"""
        answer = self.look(image_rgb)
        started = time.perf_counter()
        results = tuple(
            replace(result, update=update)
            for result, update in zip(answer.results, self.learn(), strict=True)
        )
        step_ms = answer.step_ms + (time.perf_counter() - started) * 1e3
        return Segmentation(answer.class_map, results, step_ms)

    @torch.inference_mode()
    def prepare(self, image_rgb: UInt8Array) -> PreparedFrame[Any]:
        """The part of `look` that may run ahead of it, in order or not. image_rgb: (H, W, 3)"""
        started = time.perf_counter()
        with one_pool(self.engine):
            ahead = self._ahead.prepare(self.engine, self.way, image_rgb)
        took_ms = (time.perf_counter() - started) * 1e3
        size = (image_rgb.shape[0], image_rgb.shape[1])
        return PreparedFrame(size, ahead, took_ms)

    @torch.inference_mode()
    def look(self, image_rgb: UInt8Array | PreparedFrame[Any]) -> Segmentation:
        """Segment the next frame; `learn` may follow. image_rgb: (H, W, 3) uint8

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
    def learn(self) -> tuple[Update, ...]:
        """Learn from the frame last looked at, once; what its time brought, per class.

        In instalments that may be a stage of an earlier frame's lesson.
        """
        lesson, self._lesson = self._lesson, None
        if lesson is None or self._frozen:
            return (Update.FROZEN,) * len(self.classes)
        if lesson.undone:
            return (Update.ROLLED_BACK,) * len(self.classes)
        with one_pool(self.engine):
            return self.way.learn(self.engine, lesson.sure, self._frame - 1)

    def _sound_answer(self, frame: PreparedFrame[Any]) -> tuple[Finished, bool]:
        """A frame's masks; whether what was learnt had to be undone for them.

        NaN in a mapping network or a memory would not show: attention swallows it, and what is
        left looks like a frame without instruments, in this and every later frame.
        """
        found = self._answer(frame)
        if found is not None:
            return found, False
        for undo in (self.rollback, self.reset):
            undo()
            found = self._answer(frame)
            if found is not None:
                return found, True
        raise StepError("expected masks that are numbers, got others with the profile's own state")

    def _answer(self, frame: PreparedFrame[Any]) -> Finished | None:
        answer = self.way.answer(self.engine, frame, self._frame)
        ids = [spec.class_id for spec in self.classes]
        there = self.engine.own_pictures
        return finish(answer, self._profile.calibration, ids, frame.size, on_device=there)

    def _results(self, found: Finished) -> tuple[ClassResult, ...]:
        each = zip(self.classes, found.present, found.confidence, found.area, strict=True)
        return tuple(
            ClassResult(spec.class_id, there and area > 0, sure, area, Update.PENDING)
            for spec, there, sure, area in each
        )


def _has_head(model: OflSam2, parts: Parts) -> bool:
    wanted = parts.learner and parts.naming and parts.instances
    return wanted and model.parting is not None


def _by_head(model: OflSam2, profile: Profile, parts: Parts) -> bool:
    """Are frames answered by the parting head alone?"""
    references = profile.references if profile.foreground is None else None
    return _has_head(model, parts) and references is not None and references.unaided


def _way(engine: Engine, model: OflSam2, profile: Profile, parts: Parts) -> Answering[Any]:
    namer: InstanceNamer | Follower | None = None
    rows = len(profile.classes)
    if model.parting is not None and _has_head(model, parts):
        head = module_on(model.parting, engine.device)
        if profile.foreground is not None:
            namer = Follower(head, rows, profile.foreground)
        elif profile.references is not None:
            rule = rule_for(rows, adapted=profile.head is not None)
            namer = InstanceNamer(head, profile.references, rule)
    if isinstance(namer, InstanceNamer) and namer.references.unaided:
        guarded = bool(torch.isfinite(profile.start.tolerance).all())
        blind = parts.gamma == 0  # everything teaches: the ablation
        return ByHead(namer, rows, sure_name=0.0 if blind else SURE_NAME, guarded=guarded)
    return ByRows(engine, model, profile, parts, namer)


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

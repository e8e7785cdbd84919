"""Frames predicted by the memory path, a row for each class: OFL-SAM2 (arXiv 2512.24861).

Memory attention over the bank gives E1, the mapping network E2; the fusion of both goes into the
frozen mask decoder. A confident class moves its memory ring and its mapping network
(`online_updates.py`); the others stay. Names are then those of pixels, or of instances.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.backbone.memory_attention import BankTensors
from models.backbone.memory_bank import BankShape, MemoryBank
from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.interface import Engine, Step
from models.instances.instance_classifier import InstanceClassifier
from models.instances.instance_head import HeadOutput
from models.instances.mask_follower import MaskFollower
from models.learner.mapping_network import apply_mapper
from models.learner.pixel_classifier import PixelNames, classify_pixels
from models.method.model import OflSam2
from models.method.profile import Profile, pool_features
from models.tracking.ablation import Ablation, Fusion
from models.tracking.frame_functions import FrameFunctions, encode_with_head
from models.tracking.online_updates import History, NetworkPass, OnlineUpdates
from models.tracking.strategy import LessonMasks, Strategy
from models.tracking.taught_names import TaughtNames
from models.types import LearnerState, Update

_Decoded = tuple[DecodedMasks, Tensor]  # with how certain each name is, (C,)


@dataclass(frozen=True)
class PreparedFeatures:
    """Of one frame; head_output: None where no instances are labelled."""

    network: NetworkPass
    head_output: HeadOutput | None


@dataclass(frozen=True)
class _State:
    learnt: History
    tracks: Any


class MemoryStrategy(Strategy[PreparedFeatures]):
    """See the module's docstring."""

    def __init__(
        self,
        engine: Engine,
        model: OflSam2,
        profile: Profile,
        ablation: Ablation,
        labeler: InstanceClassifier | MaskFollower | None,
    ) -> None:
        """model: with the profile's fusion; labeler: None names pixels, if the profile can"""
        backbone, classes = model.config.backbone, len(profile.classes)
        shape = BankShape.of(classes, profile.memory, backbone)
        named = labeler is None and ablation.learner and ablation.naming
        self._pixels: PixelNames | None = profile.pixel_names if named else None
        self._functions = FrameFunctions.on(engine, model, profile.start.tau, self._pixels)
        self._engine, self._profile, self._ablation = engine, profile, ablation
        self._labeler = labeler
        self._bank = MemoryBank(shape, profile.memory.max_pointer_distance, engine.device)
        names: TaughtNames | None = None
        if isinstance(labeler, InstanceClassifier) and classes > 1:
            names = TaughtNames(labeler, classes, profile.learner)
        self.updates = OnlineUpdates(engine, profile, ablation, self._bank, names)
        self._seen: NetworkPass | None = None  # the frame last predicted
        self._number = 0
        self._recorded = {full: self._record(full) for full in (False, True)}

    @property
    def nbytes(self) -> int:
        """See Strategy."""
        return self.updates.nbytes

    def prepare(self, image: Tensor) -> PreparedFeatures:
        """See Strategy."""
        if self._labeler is None:
            features, head_output = self._engine.encode_image(image), None
        else:
            features, head_output = encode_with_head(self._engine, self._labeler.head, image)
        color, tokens = self._functions.describe_tokens(features.stride16, image)
        return PreparedFeatures(NetworkPass(features, color, tokens), head_output)

    def predict(self, prepared: PreparedFeatures, number: int) -> Prediction:
        """See Strategy. NaN in what was learnt is not hidden: it reaches the masks."""
        network = prepared.network
        if number == 0:
            self._choose_support(network.features)
        bank, tau = self._bank.tensors(number), self.updates.learner.tau
        decoded, certainty = self._recorded[bank.full](network, tau, bank, self._indicator())
        prediction = Prediction.of(decoded, certainty)
        if self._labeler is not None and prepared.head_output is not None:
            prediction = self._labeler.label(prepared.head_output, decoded)
        shown = replace(
            decoded,
            mask_logits=prediction.mask_logits,
            object_logit=prediction.object_logit,
        )
        self._seen, self._number = replace(network, decoded=shown), number
        return prediction

    def update(self, confident: list[bool], number: int) -> tuple[Update, ...]:
        """See Strategy."""
        assert self._seen is not None
        return self.updates.update(self._seen, confident, number)

    def teach(self, prepared: PreparedFeatures, lesson: LessonMasks) -> None:
        """See Strategy."""
        self.updates.teach(prepared.network, prepared.head_output, lesson, self._number)

    def take_back(self) -> bool:
        """See Strategy."""
        return self.updates.take_back()

    def roll_back(self) -> None:
        """See Strategy."""
        self._forget_tracks()
        self.updates.roll_back()

    def reset(self) -> None:
        """See Strategy."""
        self._forget_tracks()
        self.updates.reset()

    def save(self) -> LearnerState:
        """See Strategy; memories are not part of it."""
        return self.updates.save()

    def load(self, state: LearnerState) -> None:
        """See Strategy."""
        self.updates.load(state)

    def snapshot(self) -> _State:
        """See Strategy."""
        tracks = None if self._labeler is None else self._labeler.snapshot()
        return _State(self.updates.snapshot(), tracks)

    def restore(self, state: _State) -> None:
        """See Strategy. The annotated frames in memory stay those of the first frame."""
        self.updates.restore(state.learnt)
        if self._labeler is not None:
            self._labeler.restore(state.tracks)

    def _indicator(self) -> Tensor:
        """Of the pixel classifier, as it is known now; empty where pixels are not named."""
        if self._pixels is None:
            return self.updates.learner.tau.new_zeros(0)
        learner = self.updates.pixels
        return self._pixels.indicator if learner is None else learner.tau[0]

    def _forget_tracks(self) -> None:
        if self._labeler is not None:
            self._labeler.reset()

    def _record(self, full: bool) -> Step[_Decoded]:
        """What happens between a frame's features and its masks, for a bank that is full or not."""
        config, tau = self._engine.config, self.updates.learner.tau
        grid, width = config.grid, config.model_width
        features = ImageFeatures(
            tau.new_zeros(1, width, grid, grid),
            tau.new_zeros(1, width // 4, 2 * grid, 2 * grid),
            tau.new_zeros(1, width // 8, 4 * grid, 4 * grid),
        )
        color = tau.new_zeros(1, 6, grid, grid)
        network = NetworkPass(features, color, tau.new_zeros(1, tau.shape[2], grid, grid))
        bank = replace(self._bank.tensors(0), full=full)
        step = functools.partial(_decode, self._engine, self._functions, self._options())
        return self._engine.recorded(step, network, tau, bank, self._indicator())

    def _options(self) -> _Options:
        ablation = self._ablation
        return _Options(
            ablation.memory, ablation.learner, ablation.fusion, self._profile.object_offset
        )

    def _choose_support(self, features: ImageFeatures) -> None:
        pooled, memory = pool_features(features.stride16)[0], self._profile.memory
        for row in range(len(self._profile.classes)):
            entries = self._profile.support.most_similar(row, pooled, memory.support)
            self._bank.set_support(row, entries)


@dataclass(frozen=True)
class _Options:
    memory: bool
    learner: bool
    fusion: Fusion
    object_offset: float


def _decode(
    engine: Engine,
    functions: FrameFunctions,
    options: _Options,
    network: NetworkPass,
    tau: Tensor,
    bank: BankTensors,
    indicator: Tensor,
) -> _Decoded:
    """Masks of a frame, and how certain their names are; no number is looked at."""
    features = network.features
    conditioned = _condition(engine, functions, options, network, tau, bank)
    decoded = engine.decode_masks(conditioned, features).shifted(options.object_offset)
    if functions.classify_pixels is None:
        return decoded, torch.ones_like(decoded.iou)
    return classify_pixels(functions.classify_pixels, features, network.color, decoded, indicator)


def _condition(
    engine: Engine,
    functions: FrameFunctions,
    options: _Options,
    network: NetworkPass,
    tau: Tensor,
    bank: BankTensors,
) -> Tensor:
    tokens = network.token_features
    if not options.memory:
        return apply_mapper(tau, tokens)
    attended = engine.attend_memory(network.features.stride16, bank)
    if not options.learner:
        return attended
    if options.fusion is Fusion.ADAPTIVE:
        return functions.map_and_fuse(attended, tokens, tau)[0]
    total = attended + apply_mapper(tau, tokens)
    return total if options.fusion is Fusion.SUM else total / 2

"""Frames answered by the rows of the network, a class each: OFL-SAM2 (arXiv 2512.24861).

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
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.interface import Engine, Step
from models.instances.instance_head import HeadOutput
from models.instances.labeler import Labeled, Labeler
from models.learner.mapping_network import apply_mapper
from models.learner.online_learner import LearnerSnapshot, LearnerState
from models.learner.pixel_classifier import classify_pixels
from models.method.model import OflSam2
from models.method.profile import Profile, pool_features, raw_confidence
from models.tensor_tree import placed
from models.tracking.ablation import Ablation, Fusion
from models.tracking.frame_functions import FrameFunctions
from models.tracking.online_updates import OnlineUpdates
from models.tracking.strategy import Prediction, PreparedFrame, Strategy
from models.tracking.stream_state import LearntState, Pass
from models.types import Update

_Rows = tuple[DecodedMasks, Tensor]  # with the raw confidence, (C,)


@dataclass(frozen=True)
class PreparedFeatures:
    """Of one frame: color (1, 6, h, w) by token_color; described (1, d, h, w) by describe.

    parted: by the instance head, where it names
    """

    features: ImageFeatures
    color: Tensor
    token_features: Tensor
    head_output: HeadOutput | None


@dataclass(frozen=True)
class _State:
    learnt: LearntState
    names: Any  # what the namer remembers


class MemoryStrategy(Strategy[PreparedFeatures]):
    """See the module's docstring."""

    def __init__(
        self,
        engine: Engine,
        model: OflSam2,
        profile: Profile,
        ablation: Ablation,
        labeler: Labeler[Any] | None,
    ) -> None:
        """model: with the profile's fusion; namer: None names pixels, if the profile can"""
        backbone = model.config.backbone
        shape = BankShape.of(len(profile.classes), profile.memory, backbone)
        pixels = labeler is None and ablation.learner and ablation.naming
        self.functions = FrameFunctions.on(engine, model, profile, pixels=pixels)
        self._profile, self._ablation, self._labeler = profile, ablation, labeler
        self._bank = MemoryBank(shape, profile.memory.max_pointer_distance, engine.device)
        self.updates = OnlineUpdates(engine, profile, ablation, self._bank)
        self._seen: Pass | None = None  # the frame last answered
        self._engine = engine
        self._recorded = {full: self._record(full) for full in (False, True)}

    @property
    def nbytes(self) -> int:
        """See Strategy."""
        return self.updates.nbytes

    def prepare(self, engine: Engine, image: Tensor) -> PreparedFeatures:
        """See Strategy."""
        if self._labeler is None:
            features, head_output = engine.encode_image(image), None
        else:
            features, head_output = self._labeler.see(engine, image)
        color, token_features = self.functions.describe_tokens(features.stride16, image)
        return PreparedFeatures(features, color, token_features, head_output)

    def predict(
        self, engine: Engine, frame: PreparedFrame[PreparedFeatures], number: int
    ) -> Prediction:
        """See Strategy. NaN in what was learnt is not hidden: it reaches the masks."""
        ahead = frame.ahead
        features = ahead.features
        if number == 0:
            self._choose_support(features)
        bank, tau = self._bank.tensors(number), self.updates.learner.tau
        own = (features, ahead.color, ahead.token_features, tau, bank)
        if engine is self._engine:
            decoded, raw = self._recorded[bank.full](*own)
        else:
            decoded, raw = self._rows_of(engine, *own)
        named = Labeled(decoded, raw)
        if self._labeler is not None and ahead.head_output is not None:
            named = self._labeler.name(ahead.head_output, decoded)
        rows = named.rows
        self._seen = Pass(features, ahead.token_features, rows)
        return Prediction(
            rows.mask_logits,
            rows.object_logit,
            named.confidence,
            named.unnamed,
            ahead.token_features,
        )

    def update(self, engine: Engine, sure: list[bool], number: int) -> tuple[Update, ...]:
        """See Strategy. In instalments that may be a stage of an earlier frame's lesson."""
        seen = self._seen
        assert seen is not None
        return self.updates.update(engine, seen, sure, number)

    def drop(self) -> None:
        """See Strategy."""
        self.updates.drop()

    def roll_back(self) -> None:
        """See Strategy."""
        self._forget_names()
        self.updates.roll_back()

    def reset(self) -> None:
        """See Strategy."""
        self._forget_names()
        self.updates.reset()

    def save(self) -> LearnerState:
        """See Strategy; memories are not part of it."""
        return self.updates.learner.snapshot().arrays()

    def load(self, state: LearnerState) -> None:
        """See Strategy."""
        learner = self.updates.learner
        self.updates.load(placed(LearnerSnapshot.of(state), learner.tau.device))

    def snapshot(self) -> _State:
        """See Strategy."""
        names = None if self._labeler is None else self._labeler.snapshot()
        return _State(self.updates.snapshot(), names)

    def restore(self, state: _State) -> None:
        """See Strategy. The annotated frames in memory stay those of the first frame."""
        self.updates.restore(state.learnt)
        if self._labeler is not None:
            self._labeler.restore(state.names)

    def _forget_names(self) -> None:
        if self._labeler is not None:
            self._labeler.reset()

    def _record(self, full: bool) -> Step[_Rows]:
        """What happens between a frame's features and its masks, for a bank that is full or not."""
        config, tau = self._engine.config, self.updates.learner.tau
        grid, width = config.grid, config.model_width
        features = ImageFeatures(
            tau.new_zeros(1, width, grid, grid),
            tau.new_zeros(1, width // 4, 2 * grid, 2 * grid),
            tau.new_zeros(1, width // 8, 4 * grid, 4 * grid),
        )
        color = tau.new_zeros(1, 6, grid, grid)
        token_features = tau.new_zeros(1, tau.shape[2], grid, grid)
        bank = replace(self._bank.tensors(0), full=full)
        step = functools.partial(self._rows_of, self._engine)
        return self._engine.recorded(step, features, color, token_features, tau, bank)

    def _rows_of(
        self,
        engine: Engine,
        features: ImageFeatures,
        color: Tensor,
        token_features: Tensor,
        tau: Tensor,
        bank: BankTensors,
    ) -> _Rows:
        """Masks of a frame, and confidence before calibration; no number is looked at."""
        conditioned = self._condition(engine, features, token_features, tau, bank)
        decoded = engine.decode_masks(conditioned, features).shifted(self._profile.object_offset)
        certainty = torch.ones_like(decoded.iou)
        if self.functions.name is not None:
            decoded, certainty = classify_pixels(self.functions.name, features, color, decoded)
        return decoded, raw_confidence(decoded, certainty)

    def _condition(
        self,
        engine: Engine,
        features: ImageFeatures,
        token_features: Tensor,
        tau: Tensor,
        bank: BankTensors,
    ) -> Tensor:
        ablation = self._ablation
        if not ablation.memory:
            return apply_mapper(tau, token_features)
        attended = engine.attend_memory(features.stride16, bank)
        if not ablation.learner:
            return attended
        if ablation.fusion is Fusion.ADAPTIVE:
            return self.functions.map_and_fuse(attended, token_features, tau)[0]
        total = attended + apply_mapper(tau, token_features)
        return total if ablation.fusion is Fusion.SUM else total / 2

    def _choose_support(self, features: ImageFeatures) -> None:
        pooled, memory = pool_features(features.stride16)[0], self._profile.memory
        for row in range(len(self._profile.classes)):
            entries = self._profile.support.most_similar(row, pooled, memory.support)
            self._bank.set_support(row, entries)

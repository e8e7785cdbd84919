"""What a stream learns from its frames: mapping networks, pixel names, memories; and the way back.

By itself from confident frames, behind a gate and a guard; and what a person teaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.backbone.memory_bank import Entries, MemoryBank
from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.interface import Engine
from models.instances.instance_head import HeadOutput
from models.learner.mapping_network import Sample, token_weights
from models.learner.online_learner import LearnerSnapshot, LearnerStart, OnlineLearner
from models.learner.pixel_classifier import RIDGE, instrument_features, pixel_sample
from models.learner.round_robin import RoundRobin
from models.learner.snapshots import KEPT, LESSONS, Kept, Lessons, Snapshots
from models.method.profile import Profile
from models.tracking.ablation import Ablation
from models.tracking.strategy import LessonMasks
from models.tracking.taught_names import TaughtNames
from models.types import LearnerState, Update

ARRAYS = 9  # of one learner's snapshot


@dataclass(frozen=True)
class NetworkPass:
    """One frame through the network, and the masks it got.

    color: (1, 6, h, w) and token_features: (1, d, h, w), by DescribeTokens
    """

    features: ImageFeatures
    color: Tensor
    token_features: Tensor
    decoded: DecodedMasks | None = None


@dataclass(frozen=True)
class LearntState:
    """Everything that updates and lessons change. learners: see OnlineUpdates"""

    learners: tuple[LearnerSnapshot, ...]
    bank: tuple[Tensor, ...]


@dataclass(frozen=True)
class History:
    """The learnt state, and those that it could go back to."""

    now: LearntState
    past: Kept[LearntState]
    lessons: tuple[LearntState, ...]


class OnlineUpdates:
    """Everything of one stream that its frames and lessons change."""

    def __init__(
        self,
        engine: Engine,
        profile: Profile,
        ablation: Ablation,
        bank: MemoryBank,
        names: TaughtNames | None,
    ) -> None:
        """bank: of the stream; its recent part is written here only; names: of its instances"""
        self._engine, self._bank, self._names = engine, bank, names
        self.learner = OnlineLearner(profile.start, profile.learner)
        self.pixels = _pixel_learner(profile)
        taught = None if names is None else names.learner
        possible = (self.learner, self.pixels, taught)
        self._learners = [one for one in possible if one is not None]
        limit, every = ablation.learn_per_frame, ablation.learn_every
        self._round_robin = RoundRobin(len(profile.classes), limit, every)
        self._snapshots: Snapshots[LearntState] = Snapshots()
        self._lessons: Lessons[LearntState] = Lessons()

    @property
    def nbytes(self) -> int:
        """Bytes of what was learnt and of all states it can go back to."""
        own = self._bank.nbytes + sum(one.nbytes for one in self._learners)
        earlier = self._bank.nbytes + sum(one.snapshot_nbytes for one in self._learners)
        return own + (KEPT + LESSONS) * earlier

    def update(self, seen: NetworkPass, confident: list[bool], frame: int) -> tuple[Update, ...]:
        """Learn from a frame: the classes whose turn it is.

        confident: (C,) whose masks of this frame are; frame: its number
        """
        updates = [Update.WAITING if sure else Update.REFUSED for sure in confident]
        chosen = self._round_robin.choose([row for row, sure in enumerate(confident) if sure])
        if not chosen:
            return tuple(updates)
        classes = torch.tensor(chosen, device=self._engine.device)
        entries, sample = update_sample(self._engine, seen, classes)
        kept = self.learner.update(classes, sample)
        good = Entries(entries.memory[kept], entries.pointer[kept])
        self._bank.push(classes[kept], good, frame)
        self._engine.memories_changed(self._bank.tensors(frame))
        if bool(kept.any()):
            self._snapshots.accepted(self._state)
        for row, good_one in zip(chosen, kept.tolist(), strict=True):
            updates[row] = Update.ACCEPTED if good_one else Update.ROLLED_BACK
        return tuple(updates)

    def teach(
        self, seen: NetworkPass, head_output: HeadOutput | None, lesson: LessonMasks, frame: int
    ) -> None:
        """Learn what a person says of a frame: its memory, the mapping network, names."""
        self._lessons.begin(self._state())
        mask, engine = lesson.mask, self._engine
        features = seen.features
        each = features.rows(torch.zeros(len(mask), dtype=torch.long, device=mask.device))
        present = mask.flatten(1).amax(dim=1) > 0.5
        memory = engine.encode_memory(features.stride16, mask[:, None] * 20.0 - 10.0, present)
        pointer = engine.prompted_pointer(each, mask[:, None])
        target = engine.attend_own(features.stride16, memory, pointer)
        weight = token_weights(mask, engine.config.grid, lesson.counted)
        self.learner.teach(Sample(seen.token_features.flatten(2), target.flatten(2), weight))
        self._teach_pixels(seen, lesson)
        if self._names is not None and head_output is not None:
            self._names.teach(head_output, lesson)
        shown = torch.nonzero(present).flatten()
        self._bank.push(shown, Entries(memory[shown], pointer[shown]), frame)
        engine.memories_changed(self._bank.tensors(frame))

    def take_back(self) -> bool:
        """Undo the last lesson, and what was learnt since; False: there is none."""
        before = self._lessons.take_back()
        if before is not None:
            self._restore(before)
        return before is not None

    def roll_back(self) -> None:
        """Go back to what was known 50 to 100 accepted updates ago, or to the profile."""
        earlier = self._snapshots.back()
        if earlier is None:
            self._forget()
        else:
            self._restore(earlier)

    def reset(self) -> None:
        """Back to the profile, as at the beginning."""
        self._forget()
        self._round_robin.reset()
        self._snapshots.forget()

    def snapshot(self) -> History:
        """Everything learnt."""
        return History(self._state(), self._snapshots.past, self._lessons.before)

    def restore(self, state: History) -> None:
        """Go on from there."""
        self._restore(state.now)
        self._snapshots.past, self._lessons.before = state.past, state.lessons

    def save(self) -> LearnerState:
        """What was learnt, without memories."""
        return tuple(array for one in self._learners for array in one.snapshot().arrays())

    def load(self, state: LearnerState) -> None:
        """Go on with what was learnt elsewhere; memories stay."""
        for number, one in enumerate(self._learners):
            own = state[ARRAYS * number : ARRAYS * (number + 1)]
            one.restore(LearnerSnapshot.of(own, self._engine.device))
        self._apply_names()

    def _teach_pixels(self, seen: NetworkPass, lesson: LessonMasks) -> None:
        if self.pixels is None:
            return
        cover = F.adaptive_avg_pool2d(lesson.mask[None], self._engine.config.grid)[0]
        whole = cover.sum(dim=0, keepdim=True).clamp_max(1.0)[None]
        tokens = instrument_features(seen.features.stride16, seen.color, whole)
        sample = pixel_sample(tokens, cover)
        total = sample.weight.sum()
        if total > 0:
            self.pixels.teach(Sample(sample.token_features, sample.target, sample.weight / total))

    def _apply_names(self) -> None:
        if self._names is not None:
            self._names.apply()

    def _state(self) -> LearntState:
        learners = tuple(one.snapshot() for one in self._learners)
        return LearntState(learners, self._bank.snapshot())

    def _restore(self, state: LearntState) -> None:
        for one, snapshot in zip(self._learners, state.learners, strict=True):
            one.restore(snapshot)
        self._bank.restore(state.bank)
        self._apply_names()

    def _forget(self) -> None:
        for one in self._learners:
            one.reset()
        self._bank.forget_recent()
        self._apply_names()
        self._lessons.forget()


def _pixel_learner(profile: Profile) -> OnlineLearner | None:
    """Pixel names as a mapping problem of one row; None where there are none to be taught."""
    names = profile.pixel_names
    if names is None or names.anchor is None:
        return None
    open_ = torch.full((1,), float("inf"), device=names.indicator.device)
    start = LearnerStart(names.indicator[None], names.anchor, RIDGE, open_, open_)
    return OnlineLearner(start, profile.learner)


def update_sample(engine: Engine, seen: NetworkPass, classes: Tensor) -> tuple[Entries, Sample]:
    """What a frame with masks taken as true teaches: memory entries, a sample for T.

    classes: (n,) those taken as true
    """
    decoded, stride16 = seen.decoded, seen.features.stride16
    assert decoded is not None
    logits, pointer = decoded.mask_logits[classes], decoded.pointer[classes]
    memory = engine.encode_memory(stride16, logits, decoded.object_logit[classes] > 0)
    target = engine.attend_own(stride16, memory, pointer)
    weight = token_weights((logits[:, 0] > 0).float(), engine.config.grid)
    sample = Sample(seen.token_features.flatten(2), target.flatten(2), weight)
    return Entries(memory, pointer), sample

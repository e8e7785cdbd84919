"""What a stream learns from its frames: mapping networks and memories, and the way back.

A lesson in stages: the frame's masks become memories (two stages), and these the target (one for
each layer of memory attention); the frame is added to the samples; the mapping network descends
(two); where the guard agrees, memories and network change together (one). At once, a frame is
learnt from before the next one comes, as published. In instalments a frame has time for one stage
only: one lesson is under way at most, and nothing changes before its last stage. It may be dropped
at any time.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone.memory_bank import MemoryBank
from models.engines.interface import Engine, open_teacher
from models.learner.lift import lifted
from models.learner.mapping_network import token_weights
from models.learner.online_learner import LearnerSnapshot, OnlineLearner
from models.learner.round_robin import RoundRobin
from models.learner.snapshots import Snapshots
from models.learner.update_steps import Sample
from models.method.model import Entries, own_target_in_stages
from models.method.profile import Profile
from models.tracking.ablation import Ablation
from models.tracking.stream_state import LearntState, Pass, SavedState
from models.types import Update

Stages = Generator[None, None, Tensor]  # a stage at a time; at last which updates were kept, (n,)


@dataclass(frozen=True)
class _UnderWay:
    rows: list[int]
    stages: Stages


class OnlineUpdates:
    """Everything of one stream that its confident frames change."""

    def __init__(
        self, engine: Engine, profile: Profile, ablation: Ablation, bank: MemoryBank
    ) -> None:
        """bank: of the stream; its recent part is written here only"""
        most = ablation.learn_per_frame
        teacher = open_teacher(engine, profile.start, profile.learner, most)
        self.learner = OnlineLearner(profile.start, profile.learner, teacher)
        self._bank, self._lift = bank, profile.lift
        self._round_robin = RoundRobin(len(profile.classes), most)
        self._instalments = ablation.instalments
        self._under_way: _UnderWay | None = None
        self._history: Snapshots[SavedState] = Snapshots()

    @property
    def nbytes(self) -> int:
        """Bytes of what was learnt and of both states it can go back to."""
        return 3 * (self._bank.nbytes + self.learner.nbytes)

    def update(
        self, engine: Engine, seen: Pass, wanting: list[bool], frame: int
    ) -> tuple[Update, ...]:
        """Give a frame's time to learning, not always to learning from that frame.

        wanting: (C,) whose masks of this frame are confident; frame: its number
        returns: what this frame's time brought; PENDING for a class whose lesson is under way
        """
        updates = [Update.WAITING if wants else Update.REFUSED for wants in wanting]
        if self._under_way is None:
            rows = self._round_robin.choose([row for row, wants in enumerate(wanting) if wants])
            if not rows:
                return tuple(updates)
            self._under_way = _UnderWay(rows, self._stages(engine, seen, rows, frame))
        lesson, self._under_way = self._under_way, None  # none is left behind by one that raises
        for row, became in zip(lesson.rows, self._go_on(lesson), strict=True):
            updates[row] = became
        return tuple(updates)

    def drop(self) -> None:
        """Give up the lesson under way, if there is one; nothing has changed by it."""
        self._under_way = None

    def snapshot(self) -> LearntState:
        """Everything learnt. A lesson under way is dropped, so that both ways on are alike."""
        self.drop()
        return LearntState(self._state(), self._history.past)

    def restore(self, state: LearntState) -> None:
        """Go on from there."""
        self.drop()
        self._restore(state.now)
        self._history.past = state.past

    def roll_back(self) -> None:
        """Go back to what was known 50 to 100 accepted lessons ago, or to the profile."""
        self.drop()
        earlier = self._history.back()
        if earlier is None:
            self._forget()
        else:
            self._restore(earlier)

    def reset(self) -> None:
        """Back to the profile, as at the beginning."""
        self.drop()
        self._forget()
        self._round_robin.reset()
        self._history.forget()

    def load(self, learner: LearnerSnapshot) -> None:
        """Go on with mapping networks from elsewhere; memories stay."""
        self.drop()
        self.learner.restore(learner)

    def _go_on(self, lesson: _UnderWay) -> list[Update]:
        """The next stage, or all of them; what became of the lesson's rows."""
        try:
            next(lesson.stages)
            while not self._instalments:
                next(lesson.stages)
        except StopIteration as finished:
            kept: list[bool] = finished.value.tolist()
            return [Update.ACCEPTED if good else Update.ROLLED_BACK for good in kept]
        self._under_way = lesson
        return [Update.PENDING] * len(lesson.rows)

    def _stages(self, engine: Engine, seen: Pass, rows: list[int], frame: int) -> Stages:
        """A lesson of these rows, to be gone on with after each `yield`."""
        places = torch.tensor(rows, device=engine.device)
        entries, sample = yield from update_sample(engine, seen, places, self._lift)
        lesson = self.learner.gather(places, sample)
        yield
        half = self.learner.begin(lesson)
        yield
        proposal = self.learner.finish(places, lesson, half)
        yield
        kept = proposal.kept
        self.learner.adopt(places, proposal)
        good = Entries(entries.memory[kept], entries.pointer[kept])
        self._bank.push(places[kept], good, frame)
        engine.memories_changed(self._bank.tensors(frame))
        if bool(kept.any()):
            self._history.accepted(self._state)
        return kept

    def _state(self) -> SavedState:
        return SavedState(self.learner.snapshot(), self._bank.snapshot())

    def _restore(self, state: SavedState) -> None:
        self.learner.restore(state.learner)
        self._bank.restore(state.bank)

    def _forget(self) -> None:
        self.learner.reset()
        self._bank.forget_recent()


def update_sample(
    engine: Engine, seen: Pass, rows: Tensor, lift: Tensor | None = None
) -> Generator[None, None, tuple[Entries, Sample]]:
    """What a frame with masks taken as true teaches, in stages: memory entries, a sample for T.

    rows: (n,) the rows taken as true
    lift: where the mapping network regresses memories, see models/learner/lift.py
    """
    stride16, token_features, decoded = seen.features.stride16, seen.token_features, seen.decoded
    logits, pointer = decoded.mask_logits[rows], decoded.pointer[rows]
    embedded = engine.embed_mask(logits)
    yield
    memory = engine.fuse_memory(stride16, embedded, decoded.object_logit[rows] > 0)
    entries = Entries(memory, pointer)
    yield
    if lift is None:
        target = yield from own_target_in_stages(engine, stride16, entries)
    else:
        target = lifted(lift, memory)
    weight = token_weights((logits[:, 0] > 0).float(), engine.config.grid)
    yield
    return entries, Sample(token_features.flatten(2), target.flatten(2), weight)


def lesson_stages(layers: int) -> int:
    """Stages of a lesson whose target is the attended memory. layers: of memory attention"""
    return 6 + layers

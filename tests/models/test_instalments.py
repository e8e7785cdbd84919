"""A lesson in instalments: what it teaches, how little a step carries, what gives it up."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import models.tracking.online_updates as module
from models.config import NANO
from models.learner.online_learner import OnlineLearner
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, load_profile
from models.tracking.ablation import LEARN_PER_FRAME, Ablation
from models.tracking.online_updates import lesson_stages
from models.tracking.tracker import Tracker
from models.types import UInt8Array, Update
from tests.models.test_tracker import clip_frames

PENDING, ACCEPTED, ROLLED_BACK = Update.PENDING, Update.ACCEPTED, Update.ROLLED_BACK
STAGES = lesson_stages(NANO.attention_layers)
BEFORE = [PENDING] * (STAGES - 1)


def sure_of_everything(weights: LoadedWeights, ablation: Ablation) -> Tracker:
    """Named pixel by pixel, so that every class is there, in every frame confident."""
    profile = load_profile("phantom")
    rows = len(profile.classes)
    sure = Calibration(torch.full((rows,), 0.01), torch.full((rows,), 8.0))
    anything = torch.full((rows,), float("inf"))
    start = replace(profile.start, tolerance=anything, surprise=anything)
    ready = replace(profile, calibration=sure, start=start, object_offset=50.0)
    return Tracker(weights, ready, replace(ablation, instances=False, naming=False))


@pytest.fixture
def tracker(weights: LoadedWeights, one_thread: None) -> Tracker:
    """As live."""
    return sure_of_everything(weights, Ablation.for_video())


def taught(tracker: Tracker, image: UInt8Array) -> Update:
    """What became of the class whose turn it is, or was when the lesson began."""
    updates = [one.update for one in tracker.step(image).results]
    its = [one for one in updates if one in (PENDING, ACCEPTED, ROLLED_BACK)]
    assert len(its) == 1
    assert all(one in (Update.WAITING, Update.REFUSED) for one in updates if one not in its)
    return its[0]


def same(one: Tracker, other: Tracker) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.save(), other.save(), strict=True))


def test_when_a_lesson_is_over_all_is_as_if_taught_at_once(
    weights: LoadedWeights, tracker: Tracker
) -> None:
    frames = clip_frames(STAGES, clip=101)
    at_once = sure_of_everything(weights, Ablation(learn_per_frame=LEARN_PER_FRAME))
    fresh = sure_of_everything(weights, Ablation())
    assert taught(at_once, frames[0]) is ACCEPTED
    assert [taught(tracker, image) for image in frames[:-1]] == BEFORE
    assert same(tracker, fresh), "nothing changes before the lesson is over"
    assert taught(tracker, frames[-1]) is ACCEPTED
    assert same(tracker, at_once)
    assert not same(tracker, fresh)
    memories = (one.snapshot().strategy.learnt.now.bank for one in (tracker, at_once))
    for found, wanted in zip(*memories, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_step_carries_one_stage_and_every_class_has_its_turn(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            done.append(name)
            return function(*arguments)

        return call

    learning, of_engine = ("gather", "begin", "finish", "adopt"), ("embed_mask", "fuse_memory")
    for part in learning:
        monkeypatch.setattr(OnlineLearner, part, noted(part, getattr(OnlineLearner, part)))
    for part in (*of_engine, "attend_own"):
        monkeypatch.setattr(tracker.engine, part, noted(part, getattr(tracker.engine, part)))
    stages = (*of_engine, *["attend_own"] * NANO.attention_layers, *learning)
    accepted = set()
    for number, image in enumerate(clip_frames(4 * STAGES, clip=101)):
        done.clear()
        tracker.segment(image)
        assert not done
        updates = tracker.update()
        assert done == [stages[number % STAGES]]
        accepted |= {row for row, update in enumerate(updates) if update is ACCEPTED}
    assert accepted == set(range(len(tracker.classes)))


def go_back(tracker: Tracker) -> None:
    tracker.restore(tracker.snapshot())


def freeze_and_thaw(tracker: Tracker) -> None:
    tracker.freeze()
    tracker.freeze(False)


@pytest.mark.parametrize("give_up", [Tracker.reset, Tracker.rollback, freeze_and_thaw, go_back])
def test_what_takes_the_learner_back_gives_up_the_lesson(
    weights: LoadedWeights, tracker: Tracker, give_up: Callable[[Tracker], None]
) -> None:
    frames = clip_frames(2 * STAGES - 1, clip=101)
    assert [taught(tracker, image) for image in frames[: STAGES - 1]] == BEFORE
    give_up(tracker)
    assert [taught(tracker, image) for image in frames[STAGES - 1 : -1]] == BEFORE
    assert same(tracker, sure_of_everything(weights, Ablation()))
    assert taught(tracker, frames[-1]) is ACCEPTED


def test_a_frozen_learner_finishes_no_lesson(tracker: Tracker) -> None:
    frames = clip_frames(STAGES + 1, clip=101)
    before = tracker.save()
    taught(tracker, frames[0])
    tracker.freeze()
    for image in frames[1:]:
        assert {one.update for one in tracker.step(image).results} == {Update.FROZEN}
    assert all(np.array_equal(a, b) for a, b in zip(before, tracker.save(), strict=True))


def test_the_guard_undoes_what_is_not_a_number(
    weights: LoadedWeights, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module.update_sample

    def broken(*arguments: Any) -> Generator[None, None, object]:
        entries, sample = yield from honest(*arguments)
        return entries, replace(sample, target=torch.full_like(sample.target, float("nan")))

    frames = clip_frames(2 * STAGES, clip=101)
    monkeypatch.setattr(module, "lesson_of", broken)
    assert [taught(tracker, one) for one in frames[:STAGES]] == [*BEFORE, ROLLED_BACK]
    assert same(tracker, sure_of_everything(weights, Ablation()))
    monkeypatch.setattr(module, "lesson_of", honest)
    assert [taught(tracker, one) for one in frames[STAGES:]] == [*BEFORE, ACCEPTED]


def test_a_lesson_that_raises_is_over(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip_frames(STAGES + 2, clip=101)
    taught(tracker, frames[0])
    with monkeypatch.context() as broken:
        broken.setattr(tracker.engine, "fuse_memory", None)
        with pytest.raises(TypeError):
            tracker.step(frames[1])
    assert [taught(tracker, one) for one in frames[2:]] == [*BEFORE, ACCEPTED]

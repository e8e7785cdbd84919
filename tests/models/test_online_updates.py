"""What the memory path learns by itself: when, from which class, and what gives it up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import models.tracking.online_updates as module
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, load_profile
from models.tracking.ablation import UPDATE_EVERY, Ablation
from models.tracking.tracker import Tracker
from models.types import Update
from tests.models.test_tracker import clip_frames


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


def same(one: Tracker, other: Tracker) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.save(), other.save(), strict=True))


def test_in_video_one_class_learns_at_a_time_and_every_class_has_its_turn(
    tracker: Tracker,
) -> None:
    """A whole update in one frame of UPDATE_EVERY, so that the others take no longer for it."""
    rows = len(tracker.classes)
    images = clip_frames(5, clip=101)
    learnt: list[int] = []
    for number in range(UPDATE_EVERY * rows):
        updates = [one.update for one in tracker.step(images[number % 5]).results]
        accepted = [row for row, one in enumerate(updates) if one is Update.ACCEPTED]
        assert bool(accepted) == (number % UPDATE_EVERY == 0)
        learnt += accepted
        assert {one for row, one in enumerate(updates) if row not in accepted} <= {Update.WAITING}
    assert sorted(learnt) == list(range(rows))


def test_a_frozen_learner_learns_nothing(weights: LoadedWeights, tracker: Tracker) -> None:
    tracker.freeze()
    for image in clip_frames(2, clip=101):
        assert {one.update for one in tracker.step(image).results} == {Update.FROZEN}
    assert same(tracker, sure_of_everything(weights, Ablation()))


def test_the_guard_undoes_what_is_not_a_number(
    weights: LoadedWeights, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module.update_sample

    def broken(*arguments: object) -> tuple[object, object]:
        entries, sample = honest(*arguments)  # type: ignore[arg-type]
        return entries, replace(sample, target=torch.full_like(sample.target, float("nan")))

    frames = clip_frames(1, clip=101)
    with monkeypatch.context() as patched:
        patched.setattr(module, "update_sample", broken)
        assert Update.ROLLED_BACK in [one.update for one in tracker.step(frames[0]).results]
    assert same(tracker, sure_of_everything(weights, Ablation()))


def test_an_update_that_raises_leaves_nothing_behind(
    weights: LoadedWeights, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = clip_frames(UPDATE_EVERY + 1, clip=101)
    with monkeypatch.context() as broken:
        broken.setattr(tracker.engine, "encode_memory", None)
        with pytest.raises(TypeError):
            tracker.step(frames[0])
    assert same(tracker, sure_of_everything(weights, Ablation()))
    later = [one.update for image in frames[1:] for one in tracker.step(image).results]
    assert Update.ACCEPTED in later

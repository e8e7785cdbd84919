"""The tracker on the embedded default, as its users see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.engines.interface import EngineChoice
from models.learner import snapshots as history
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, load_profile
from models.phantom import DEMO_SEED, Procedure
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import LearnerState, UInt8Array, Update


def clip_frames(count: int, seed: int = DEMO_SEED, clip: int = 100) -> list[UInt8Array]:
    scene = Procedure(seed).clip(clip, size=(128, 160))
    return [scene.render(i / 25).image_rgb for i in range(count)]


def always_sure(weights: LoadedWeights, gamma: float = 0.8) -> Tracker:
    """A tracker whose confidence passes the gate in every frame with a mask."""
    profile = load_profile("phantom")
    rows = len(profile.classes)
    sure = Calibration(torch.full((rows,), 0.01), torch.full((rows,), 8.0))
    return Tracker(
        weights, replace(profile, calibration=sure), Ablation(gamma=gamma, instances=False)
    )


def always_learning(weights: LoadedWeights) -> Tracker:
    """As sure, and with a guard that believes everything finite."""
    profile = load_profile("phantom")
    rows = len(profile.classes)
    sure = Calibration(torch.full((rows,), 0.01), torch.full((rows,), 8.0))
    anything = torch.full((rows,), float("inf"))
    start = replace(profile.start, tolerance=anything, surprise=anything)
    learning = replace(profile, calibration=sure, start=start)
    return Tracker(weights, learning, Ablation(instances=False), EngineChoice())


def test_finds_instruments_in_an_unseen_procedure(weights: LoadedWeights) -> None:
    tracker = Tracker(weights, load_profile("instrument"))
    overlap, union = 0, 0
    for seed in range(40_000, 40_008):
        frame = Procedure(seed).clip(0, size=(256, 256)).render(1.0)
        tracker.reset()
        found = tracker.step(frame.image_rgb).class_map > 0
        overlap += int((found & (frame.class_mask > 0)).sum())
        union += int((found | (frame.class_mask > 0)).sum())
    assert overlap / union > 0.6


def test_results_follow_the_profile_and_the_map(weights: LoadedWeights) -> None:
    tracker = Tracker(weights, load_profile("phantom"))
    for image in clip_frames(3):
        result = tracker.step(image)
        assert result.class_map.shape == image.shape[:2]
        assert [one.class_id for one in result.results] == [s.class_id for s in tracker.classes]
        for one in result.results:
            share = float((result.class_map == one.class_id).mean())
            assert one.area == pytest.approx(share)
            assert one.present == (share > 0)


def test_a_stream_goes_on_twice_from_the_same_state(
    weights: LoadedWeights, one_thread: None
) -> None:
    tracker, frames = always_learning(weights), clip_frames(6)
    for image in frames[:2]:
        tracker.step(image)
    state = tracker.snapshot()
    first = [tracker.step(image) for image in frames[2:]]
    assert any(one.update is Update.ACCEPTED for result in first for one in result.results)
    for image in clip_frames(3, seed=5):
        tracker.step(image)
    tracker.restore(state)
    again = [tracker.step(image) for image in frames[2:]]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.class_map, other.class_map)
        assert one.results == other.results


def test_same_stream_same_result_after_reset(weights: LoadedWeights, one_thread: None) -> None:
    tracker = always_sure(weights)
    frames = clip_frames(6)
    first = [tracker.step(image).class_map for image in frames]
    tracker.reset()
    again = [tracker.step(image).class_map for image in frames]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)


def test_gate_decides_who_learns(weights: LoadedWeights) -> None:
    frames = clip_frames(4, clip=101)
    learning = always_sure(weights)
    updates = [one.update for image in frames for one in learning.step(image).results]
    assert Update.ACCEPTED in updates
    closed = Tracker(weights, load_profile("phantom"), Ablation(gamma=1.0, instances=False))
    for image in frames:
        assert all(one.update is Update.REFUSED for one in closed.step(image).results)


def test_frozen_learns_nothing(weights: LoadedWeights, one_thread: None) -> None:
    frames = clip_frames(8)
    frozen = always_sure(weights)
    frozen.freeze()
    offline = Tracker(weights, load_profile("phantom"), Ablation(online=False, instances=False))
    for image in frames:
        result = frozen.step(image)
        assert all(one.update is Update.FROZEN for one in result.results)
        assert np.array_equal(result.class_map, offline.step(image).class_map)


def test_rollback_goes_back_by_snapshots_and_before_them_to_the_profile(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """With a snapshot after every other lesson: two or three lessons are undone."""
    monkeypatch.setattr(history, "SNAPSHOT_EVERY", 2)
    tracker, frames = always_learning(weights), clip_frames(8, clip=101)
    known = [tracker.save()]
    for image in frames:
        taught = any(one.update is Update.ACCEPTED for one in tracker.step(image).results)
        known += [tracker.save()] if taught else []
    assert len(known) > 6

    def state_after_rollback(lessons: int) -> LearnerState:
        tracker.reset()
        for image in frames:
            if lessons:
                results = tracker.step(image).results
                lessons -= any(one.update is Update.ACCEPTED for one in results)
        tracker.rollback()
        return tracker.save()

    for lessons, back_at in ((3, 0), (4, 2), (6, 4)):
        found = state_after_rollback(lessons)
        for one, other in zip(found, known[back_at], strict=True):
            assert np.array_equal(one, other)


def test_a_poisoned_update_leaves_the_next_frame_as_good(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """A wrong mask with full confidence, then features that are not numbers: both are undone."""
    import models.tracking.online_updates as module

    clean, poisoned = always_sure(weights), always_sure(weights)
    frames = clip_frames(5, clip=101)
    for image in frames[:2]:
        clean.step(image)
        poisoned.step(image)
    honest = module.update_sample

    def inverted(*arguments: object) -> object:
        engine, seen, *rest = arguments
        decoded = seen.decoded  # type: ignore[attr-defined]
        wrong = replace(decoded, mask_logits=-8.0 * decoded.mask_logits.sign())
        return honest(engine, replace(seen, decoded=wrong), *rest)  # type: ignore[arg-type,type-var]

    def broken(*arguments: object) -> object:
        entries, sample = honest(*arguments)  # type: ignore[arg-type]
        sample.target[:] = float("nan")
        return entries, sample

    clean.freeze()
    clean.step(frames[2])
    clean.step(frames[3])
    clean.freeze(False)
    for lesson, image in ((inverted, frames[2]), (broken, frames[3])):
        monkeypatch.setattr(module, "update_sample", lesson)
        updates = [one.update for one in poisoned.step(image).results]
        assert Update.ROLLED_BACK in updates
        assert Update.ACCEPTED not in updates
    monkeypatch.setattr(module, "update_sample", honest)
    assert np.array_equal(clean.step(frames[4]).class_map, poisoned.step(frames[4]).class_map)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (301, 199), (720, 1280)])
def test_any_picture_size(weights: LoadedWeights, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert Tracker(weights, load_profile("instrument")).step(image).class_map.shape == shape

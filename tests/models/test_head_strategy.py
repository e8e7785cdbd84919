"""Profiles whose frames the instance head answers alone, and what a stream teaches them."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.quality.metrics import iou
from models.errors import LessonError
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, Mode, Profile, load_profile
from models.phantom import PhantomFrame, Procedure
from models.tracking.ablation import Ablation
from models.tracking.head_strategy import HeadStrategy
from models.tracking.memory_strategy import MemoryStrategy
from models.tracking.tracker import Tracker
from models.types import IGNORE_ID, UNNAMED_ID, ClassSpec, UInt8Array, Update
from tests.models.test_tracker import clip_frames
from tests.support.captured_steps import demo_frames

CPU = torch.device("cpu")


def sure(profile: Profile) -> Profile:
    """Confident of whatever is drawn."""
    rows = len(profile.classes)
    calibration = Calibration(torch.full((rows,), 0.01), torch.full((rows,), 8.0))
    return replace(profile, calibration=calibration)


def tracker_of(weights: LoadedWeights, **ablation: bool) -> Tracker:
    return Tracker(weights, sure(load_profile("phantom")), Ablation(**ablation))


@pytest.mark.parametrize("name", ["phantom", "instrument"])
def test_masks_are_those_of_the_rows_that_are_not_run(weights: LoadedWeights, name: str) -> None:
    """And confidences. The memory path is given the same head, and no say."""
    profile = load_profile(name)
    alone = Tracker(weights, profile, Ablation(online=False))
    assert isinstance(alone.strategy, HeadStrategy)
    whole = replace(profile, mode=Mode.INSTANCES, head_weight=1.0)
    beside = Tracker(weights, whole, Ablation(online=False))
    drawn = 0
    for image in clip_frames(5, clip=101):
        one, other = alone.step(image), beside.step(image)
        assert np.array_equal(one.class_map, other.class_map)
        if len(profile.classes) > 1:  # with one, the memory path has a confidence of its own
            for found, wanted in zip(one.results, other.results, strict=True):
                assert found.confidence == pytest.approx(wanted.confidence, abs=1e-5)
        drawn += int((one.class_map > 0).sum())
    assert drawn > 500


def test_no_row_is_run(weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracker_of(weights)
    for name in ("attend_memory", "decode_masks", "encode_memory", "attend_own"):
        monkeypatch.setattr(tracker.engine, name, None)
    drawn = sum(int((tracker.step(image).class_map > 0).sum()) for image in clip_frames(6))
    assert drawn > 500


def test_rows_are_run_where_they_have_a_say(weights: LoadedWeights) -> None:
    profile = load_profile("phantom")
    assert profile.exemplars is not None
    half = replace(profile, mode=Mode.INSTANCES, head_weight=0.5)
    assert isinstance(Tracker(weights, half).strategy, MemoryStrategy)
    assert isinstance(Tracker(weights, profile, Ablation(instances=False)).strategy, MemoryStrategy)


def test_instruments_of_unknown_kind_are_drawn_as_such(weights: LoadedWeights) -> None:
    """Annotated regions that all look alike name nothing; what is instrument stays the same."""
    profile = load_profile("phantom")
    known = profile.exemplars
    assert known is not None
    alike = replace(known, embedding=known.embedding[:1].expand_as(known.embedding))
    named, unnamed = (
        Tracker(weights, replace(profile, exemplars=one), Ablation(online=False))
        for one in (known, alike)
    )
    drawn = 0
    for image in clip_frames(5, clip=101):
        one, other = named.step(image), unnamed.step(image)
        shown = (one.class_map > 0, other.class_map > 0)
        assert iou(*shown) > 0.97, "all but what lies between two classes"
        assert set(np.unique(other.class_map)) <= {0, UNNAMED_ID}
        assert not any(result.present or result.area for result in other.results)
        assert other.unnamed_area == np.mean(other.class_map == UNNAMED_ID)
        drawn += int((other.class_map > 0).sum())
    assert drawn > 500


def test_with_one_class_there_is_no_name_to_learn(weights: LoadedWeights) -> None:
    tracker = Tracker(weights, sure(load_profile("instrument")), Ablation())
    (result,) = tracker.step(clip_frames(1)[0]).results
    assert result.present
    assert result.update is Update.FROZEN


def lesson_of(frame: PhantomFrame, ids: tuple[int, ...]) -> UInt8Array:
    """What a person would say of it: everything. ids: of the profile's classes"""
    kinds = np.asarray(frame.class_mask)
    return np.where(np.isin(kinds, ids), kinds, 0).astype(np.uint8)


def test_a_lesson_renames_what_looks_like_it_and_can_be_taken_back(
    weights: LoadedWeights,
) -> None:
    """Kinds are told otherwise than the exemplars say: one press, and the next frames follow."""
    tracker = tracker_of(weights)
    ids = tuple(spec.class_id for spec in tracker.classes)
    images = clip_frames(4, clip=101)
    for image in images[:3]:
        shown = tracker.step(image).class_map
    drawn = [one for one in ids if (shown == one).mean() > 0.01]
    other = next(one for one in ids if one not in drawn)
    wrong = np.where(shown == drawn[0], other, shown)
    wrong = np.where(wrong == UNNAMED_ID, IGNORE_ID, wrong).astype(np.uint8)
    before = tracker.save()
    tracker.teach(images[2], wrong)
    assert not all(itertools.starmap(np.array_equal, zip(before, tracker.save(), strict=True)))
    # Names change at once for what comes anew; tracks carry what was said of them before.
    tracker.strategy._classifier.reset()  # type: ignore[attr-defined]
    renamed = tracker.step(images[3]).class_map
    assert (renamed == other).sum() > 5 * max((renamed == drawn[0]).sum(), 1)
    assert tracker.take_back()
    assert all(itertools.starmap(np.array_equal, zip(before, tracker.save(), strict=True)))
    assert not tracker.take_back()


def test_what_was_taught_goes_to_another_tracker_and_is_forgotten_by_a_reset(
    weights: LoadedWeights,
) -> None:
    tracker, other = tracker_of(weights), tracker_of(weights)
    empty, size = tracker.save(), tracker.state_bytes
    ids = tuple(spec.class_id for spec in tracker.classes)
    frame = Procedure(101).clip(0).render(1.0)
    tracker.step(frame.image_rgb)
    tracker.teach(frame.image_rgb, lesson_of(frame, ids))
    other.load(tracker.save())
    state = tracker.snapshot()
    after = [one.render(1.2).image_rgb for one in (Procedure(101).clip(0),)]
    first = tracker.step(after[0])
    tracker.restore(state)
    assert np.array_equal(tracker.step(after[0]).class_map, first.class_map)
    assert all(itertools.starmap(np.array_equal, zip(tracker.save(), other.save(), strict=True)))
    tracker.reset()
    assert all(itertools.starmap(np.array_equal, zip(empty, tracker.save(), strict=True)))
    assert tracker.state_bytes == size


@pytest.mark.parametrize(
    ("class_map", "expected"),
    [
        (np.zeros((8, 8), np.uint8), "expected a lesson of the frame's size, 64x48, got 8x8"),
        (np.full((48, 64), 77, np.uint8), "got 77"),
        (np.full((48, 64), 255, np.uint8), "says something"),
    ],
)
def test_lessons_that_cannot_be_learnt_are_refused(
    weights: LoadedWeights, class_map: UInt8Array, expected: str
) -> None:
    tracker = tracker_of(weights)
    before = tracker.save()
    with pytest.raises(LessonError, match=expected):
        tracker.teach(np.zeros((48, 64, 3), np.uint8), class_map)
    assert all(itertools.starmap(np.array_equal, zip(before, tracker.save(), strict=True)))


def test_without_a_person_the_head_learns_nothing(weights: LoadedWeights) -> None:
    """What it would teach itself is what it believes already (docs/notebook.md)."""
    tracker = tracker_of(weights)
    before = tracker.save()
    for image in clip_frames(3):
        assert all(one.update is Update.FROZEN for one in tracker.step(image).results)
    assert all(itertools.starmap(np.array_equal, zip(before, tracker.save(), strict=True)))


def test_what_is_not_a_number_is_taken_back_and_names_stay(weights: LoadedWeights) -> None:
    """As if nothing had kept it out."""
    tracker, clean, frames = tracker_of(weights), tracker_of(weights), clip_frames(3, clip=101)
    for image in frames[:2]:
        tracker.step(image)
    tracker.load(tuple(np.full_like(one, np.nan) for one in tracker.save()))
    result = tracker.step(frames[2])
    assert {one.update for one in result.results} == {Update.ROLLED_BACK}
    assert np.array_equal(result.class_map, clean.step(frames[2]).class_map)


def test_classes_keep_their_order(weights: LoadedWeights) -> None:
    """Exemplars belong to rows: a profile whose classes are named otherwise draws the same."""
    profile = load_profile("phantom")
    renamed = replace(
        profile, classes=tuple(ClassSpec(50 + n, f"kind {n}", "#3fb950") for n in range(4))
    )
    image = clip_frames(1, clip=101)[0]
    plain, other = (Tracker(weights, one).step(image).class_map for one in (profile, renamed))
    ids = np.array([0, *(spec.class_id for spec in profile.classes)])
    others = np.array([0, *range(50, 54)])
    assert np.array_equal(np.searchsorted(ids, plain), np.searchsorted(others, other))


@pytest.mark.alone
def test_no_thread_goes_on_spinning_after_a_step() -> None:
    """The next frame and the encoder need the cores; numpy's pool held one for 60 ms."""
    tracker = Tracker.open("phantom", engine="onnx")
    spinning = []
    for image in demo_frames(101, 30):
        tracker.segment(image)
        before = time.process_time()
        time.sleep(0.05)
        spinning.append(time.process_time() - before)
    assert float(np.percentile(spinning, 95)) < 0.01

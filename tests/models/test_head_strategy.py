"""Profiles whose frames the instance head answers alone, and what a stream teaches them."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.metrics import iou
from models.instances.exemplar_learner import ExemplarLearner
from models.instances.exemplars import ALIKE, RING, SHARE, Exemplars, RecentExemplars
from models.instances.instance_classifier import InstanceClassifier
from models.instances.instance_head import EMBEDDING
from models.learner import snapshots as history
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, Profile, load_profile
from models.tracking.ablation import Ablation
from models.tracking.head_strategy import HeadStrategy
from models.tracking.memory_strategy import MemoryStrategy
from models.tracking.tracker import Tracker
from models.types import UNNAMED_ID, ClassSpec, Update
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
    """And confidences. The rows are given the same head and references."""
    profile = load_profile(name)
    alone = Tracker(weights, profile, Ablation(online=False))
    assert isinstance(alone.strategy, HeadStrategy)
    beside = Tracker(weights, profile, Ablation(online=False))
    assert weights.model.instance_head is not None
    assert profile.exemplars is not None
    labeler = InstanceClassifier(weights.model.instance_head, profile.exemplars)
    beside.strategy = MemoryStrategy(
        beside.engine, weights.model, profile, Ablation(online=False), labeler
    )
    drawn = 0
    for image in clip_frames(5, clip=101):
        one, other = alone.step(image), beside.step(image)
        assert np.array_equal(one.class_map, other.class_map)
        for found, wanted in zip(one.results, other.results, strict=True):
            assert found.confidence == pytest.approx(wanted.confidence, abs=1e-5)
        drawn += int((one.class_map > 0).sum())
    assert drawn > 500


def test_no_row_is_run(weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracker_of(weights)
    for name in ("attend_memory", "decode_masks", "embed_mask", "fuse_memory", "attend_own"):
        monkeypatch.setattr(tracker.engine, name, None)
    updates = [one.update for image in clip_frames(6) for one in tracker.step(image).results]
    assert Update.ACCEPTED in updates


def test_rows_are_run_where_they_have_a_say(weights: LoadedWeights) -> None:
    profile = load_profile("phantom")
    assert profile.exemplars is not None
    half = replace(profile, exemplars=replace(profile.exemplars, found_weight=0.5))
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


def test_what_a_stream_taught_is_kept_undone_and_brought_back(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr(history, "SNAPSHOT_EVERY", 2)
    tracker, other, frames = tracker_of(weights), tracker_of(weights), clip_frames(10)
    size, empty = tracker.state_bytes, tracker.save()
    accepted = 0
    for image in frames[:5]:
        accepted += sum(one.update is Update.ACCEPTED for one in tracker.step(image).results)
    assert accepted >= 4, "there are two states to go back to"
    other.load(tracker.save())
    state = tracker.snapshot()
    first = [tracker.step(image) for image in frames[5:]]
    learnt = tracker.save()
    tracker.restore(state)
    again = [tracker.step(image) for image in frames[5:]]
    for one, repeated in zip(first, again, strict=True):
        assert np.array_equal(one.class_map, repeated.class_map)
        assert one.results == repeated.results
    assert all(itertools.starmap(np.array_equal, zip(learnt, tracker.save(), strict=True)))
    tracker.rollback()
    earlier = tracker.save()
    assert earlier[1].sum() < learnt[1].sum() or not np.array_equal(earlier[0], learnt[0])
    assert earlier[1].sum() > 0
    tracker.reset()
    assert all(itertools.starmap(np.array_equal, zip(empty, tracker.save(), strict=True)))
    assert other.save()[1].sum() > 0
    assert tracker.state_bytes == size


def axis(*places: int) -> Tensor:
    """Between some of the axes, unit length."""
    return F.normalize(sum(F.one_hot(torch.tensor(n), EMBEDDING) for n in places).float(), dim=0)


def known(*kinds: tuple[Tensor, int]) -> Exemplars:
    return Exemplars(torch.stack([one for one, _ in kinds]), torch.tensor([n for _, n in kinds]))


def test_a_look_that_changes_step_by_step_keeps_more_of_its_name() -> None:
    """An instrument of kind 0 turns until it resembles kind 1 more than what was annotated."""
    exemplars = known((axis(0), 0), (axis(0), 0), (axis(1), 1), (axis(1), 1))
    away = F.normalize(0.8 * axis(1) + 0.6 * axis(2), dim=0)
    turns = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0]))
    looks = [torch.cos(turn) * axis(0) + torch.sin(turn) * away for turn in turns]
    learner = ExemplarLearner(exemplars, 2)

    def share(recent: RecentExemplars | None) -> float:
        return float(exemplars.log_shares(looks[-1][None], 2, recent).exp()[0, 0])

    known_before = share(None)
    assert known_before < 0.25
    assert [learner.update(0, segment) for segment in looks[:2]] == [True, True]
    assert share(learner.recent) > 1.5 * known_before
    assert learner.update(0, looks[2])
    assert share(learner.recent) > 0.5
    assert learner.recent.count.tolist() == [3, 0]


def test_recent_regions_are_few_and_weigh_as_much_as_annotated_ones_at_most() -> None:
    exemplars = known((axis(0), 0), (axis(1), 1))
    recent = RecentExemplars.none(2, EMBEDDING, CPU)
    for number in range(3 * RING):
        recent = recent.with_region(0, axis(number % 40 + 10))
    assert recent.count.tolist() == [RING, 0]
    assert recent.nbytes == RecentExemplars.none(2, EMBEDDING, CPU).nbytes
    alone, beside = (exemplars.log_shares(axis(0)[None], 2, one).exp()[0] for one in (None, recent))
    odds = [float(one[0] / one[1]) for one in (alone, beside)]
    assert odds[1] >= (1 - SHARE) * odds[0], "what people annotated keeps its half"


def test_a_region_that_looks_like_one_of_the_last_takes_its_place() -> None:
    recent = RecentExemplars.none(1, EMBEDDING, CPU).with_region(0, axis(0)).with_region(0, axis(1))
    nearly = F.normalize(axis(0) + 0.1 * axis(5), dim=0)
    assert float(nearly @ axis(0)) > ALIKE
    recent = recent.with_region(0, nearly)
    assert recent.count.tolist() == [2]
    assert torch.equal(recent.embedding[0, :2], torch.stack([axis(1), nearly]))


def test_a_lesson_that_takes_annotated_regions_their_name_is_undone() -> None:
    """Looks of kind 1, taught as kind 0's."""
    near = F.normalize(axis(1) + 0.8 * axis(2), dim=0)
    exemplars = known((axis(0), 0), (axis(0, 3), 0), (axis(1), 1), (near, 1))
    learner = ExemplarLearner(exemplars, 2)
    assert learner.update(0, axis(0, 4))
    wrong = [F.normalize(axis(1) + 0.4 * axis(20 + n), dim=0) for n in range(RING)]
    took = [learner.update(0, segment) for segment in wrong]
    assert not all(took)
    assert learner.rightly_named(learner.recent) == 4
    assert not learner.update(1, torch.full((EMBEDDING,), float("nan")))
    assert torch.isfinite(learner.recent.embedding).all()


def test_a_frozen_or_closed_learner_learns_no_names(weights: LoadedWeights) -> None:
    frozen, closed = (
        tracker_of(weights),
        Tracker(weights, load_profile("phantom"), Ablation(gamma=1.0)),
    )
    frozen.freeze()
    for image in clip_frames(3):
        assert all(one.update is Update.FROZEN for one in frozen.step(image).results)
        assert all(one.update is Update.REFUSED for one in closed.step(image).results)
    assert frozen.save()[1].sum() == closed.save()[1].sum() == 0


def test_what_is_not_a_number_is_taken_back_and_names_stay(weights: LoadedWeights) -> None:
    """As if no guard had held."""
    tracker, clean, frames = tracker_of(weights), tracker_of(weights), clip_frames(3, clip=101)
    for image in frames[:2]:
        tracker.step(image)
    embedding, count = tracker.save()
    tracker.load((np.full_like(embedding, np.nan), np.full_like(count, RING)))
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

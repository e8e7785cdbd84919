"""Which classes learn from a frame."""

from __future__ import annotations

from collections import Counter

import pytest

from models.learner.round_robin import RoundRobin
from models.method.checkpoint import LoadedWeights
from models.method.profile import load_profile
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import Update
from tests.models.test_engines import demo_frames


def test_everybody_who_keeps_wanting_learns_equally_often() -> None:
    turns = RoundRobin(3, 1)
    assert [turns.choose([0, 1, 2]) for _ in range(6)] == [[0], [1], [2], [0], [1], [2]]
    assert turns.choose([]) == []


def test_who_waited_longest_comes_first() -> None:
    turns = RoundRobin(3, 1)
    for _ in range(4):
        assert turns.choose([2]) == [2]
    assert turns.choose([0, 2]) == [0]
    assert turns.choose([0, 1, 2]) == [1]
    assert RoundRobin(4, 2).choose([1, 2, 3]) == [1, 2]


def test_without_a_limit_all_learn() -> None:
    assert RoundRobin(3, None).choose([0, 2]) == [0, 2]
    with pytest.raises(ValueError, match=r"expected at least one class .*, got 0"):
        RoundRobin(3, 0)


def test_a_tracker_says_who_learnt_and_who_waits(weights: LoadedWeights) -> None:
    """What is confident and not taught waits; nobody else does."""
    profile = load_profile("phantom")
    tracker = Tracker(weights, profile, Ablation(gamma=0.3, learn_per_frame=1, instances=False))
    seen: Counter[Update] = Counter()
    for image in demo_frames(20, 12):
        results = tracker.step(image).results
        updates = [one.update for one in results]
        seen.update(updates)
        taught = sum(one in (Update.ACCEPTED, Update.ROLLED_BACK) for one in updates)
        assert taught <= 1
        assert Update.WAITING not in updates or taught == 1
        for one in results:
            assert (one.update is Update.REFUSED) == (one.confidence < 0.3 or not one.present)
    assert seen[Update.ACCEPTED]
    assert seen[Update.WAITING]

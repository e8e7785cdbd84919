"""The online learner: anchored, guarded, reversible, constant in size."""

from __future__ import annotations

import torch

from models.config import LearnerConfig
from models.learner.mapping_network import Sample, Statistics, mapping_loss, ridge_solution
from models.learner.online_learner import LearnerStart, OnlineLearner

ROWS, WIDTH, OUT, TOKENS = 2, 10, 4, 64
CONFIG = LearnerConfig(decay=0.3)
RIDGE = 0.01


def world(seed: int) -> torch.Tensor:
    """A linear truth (R, D, d)."""
    return torch.randn(ROWS, OUT, WIDTH, generator=torch.Generator().manual_seed(seed))


def frame(truth: torch.Tensor, seed: int) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    token_features = torch.randn(1, WIDTH, TOKENS, generator=generator)
    noise = 0.1 * torch.randn(ROWS, OUT, TOKENS, generator=generator)
    return Sample(token_features, truth @ token_features + noise, torch.ones(ROWS, TOKENS) / TOKENS)


def only(sample: Sample, rows: torch.Tensor) -> Sample:
    return Sample(sample.token_features, sample.target[rows], sample.weight[rows])


def learner(
    tolerance: float = 0.5, surprise: float = float("inf")
) -> tuple[OnlineLearner, Statistics]:
    anchor = frame(world(0), 1).statistics()
    start = LearnerStart(
        ridge_solution(anchor, RIDGE),
        anchor,
        RIDGE,
        tolerance=torch.full((ROWS,), tolerance),
        surprise=torch.full((ROWS,), surprise),
    )
    return OnlineLearner(start, CONFIG), anchor


EVERY = torch.arange(ROWS)


def test_an_honest_frame_is_kept_and_changes_the_mapping() -> None:
    subject, _ = learner()
    before = subject.tau.clone()
    assert subject.update(EVERY, frame(world(0), 2)).all()
    assert not torch.equal(subject.tau, before)


def test_a_poisoned_frame_is_rolled_back_and_leaves_no_trace() -> None:
    subject, anchor = learner()
    before, loss = subject.tau.clone(), mapping_loss(subject.tau, anchor)
    opposite = frame(-4 * world(0), 3)
    kept = subject.update(EVERY, opposite)
    assert not kept.any()
    assert torch.equal(subject.tau, before)
    assert subject.update(EVERY, frame(world(0), 2)).all(), "the next honest frame is learnt"
    assert (mapping_loss(subject.tau, anchor) <= loss * 1.5).all()


def test_a_frame_that_nothing_led_to_expect_is_rolled_back() -> None:
    subject, _ = learner(tolerance=1e9, surprise=1.0)
    before = subject.tau.clone()
    assert not subject.update(EVERY, frame(-4 * world(0), 3)).any()
    assert torch.equal(subject.tau, before)
    assert subject.update(EVERY, frame(world(0), 2)).all()


def test_a_frame_that_is_not_finite_is_rolled_back() -> None:
    subject, _ = learner()
    before = subject.tau.clone()
    bad = frame(world(0), 2)
    bad.target[1, 0, 0] = float("nan")
    kept = subject.update(EVERY, bad)
    assert kept.tolist() == [True, False]
    assert torch.equal(subject.tau[1], before[1])
    assert torch.isfinite(subject.tau).all()


def test_only_the_confident_rows_move() -> None:
    subject, _ = learner()
    before = subject.tau.clone()
    rows = torch.tensor([1])
    assert subject.update(rows, only(frame(world(0), 2), rows)).all()
    assert torch.equal(subject.tau[0], before[0])
    assert not torch.equal(subject.tau[1], before[1])


def test_annotated_samples_keep_at_least_a_quarter_of_the_weight() -> None:
    """However long another world is seen, the mapping does not end there."""
    subject, anchor = learner(tolerance=1e9)
    other = world(0) + 0.3 * world(9)
    for seed in range(200):
        subject.update(EVERY, frame(other, 10 + seed))
    assert CONFIG.support_weight >= 0.25
    recent = frame(other, 500).statistics()
    balanced = Statistics(
        0.25 * anchor.gram + 0.75 * recent.gram,
        0.25 * anchor.cross + 0.75 * recent.cross,
        anchor.energy,
        anchor.weight,
    )
    farthest = mapping_loss(ridge_solution(balanced, RIDGE), anchor)
    assert (mapping_loss(subject.tau, anchor) <= farthest * 1.2).all()


def test_snapshot_and_reset_bring_back_what_was() -> None:
    subject, _ = learner()
    start = subject.tau.clone()
    subject.update(EVERY, frame(world(0), 2))
    middle, snapshot = subject.tau.clone(), subject.snapshot()
    subject.update(EVERY, frame(world(0), 4))
    subject.restore(snapshot)
    assert torch.equal(subject.tau, middle)
    subject.reset()
    assert torch.equal(subject.tau, start)


def test_what_was_learnt_in_inference_mode_is_reset_outside() -> None:
    """A tracker learns in inference mode; a person resets it from outside."""
    subject, _ = learner()
    start = subject.tau.clone()
    with torch.inference_mode():
        assert subject.update(EVERY, frame(world(0), 2)).all()
    subject.reset()
    assert torch.equal(subject.tau, start)
    with torch.inference_mode():
        assert subject.update(EVERY, frame(world(0), 2)).all()
        assert subject.update(EVERY[1:], only(frame(world(0), 4), EVERY[1:])).all()
    subject.restore(subject.snapshot())
    subject.reset()
    assert torch.equal(subject.tau, start)


def test_memory_is_constant() -> None:
    subject, _ = learner()
    before = subject.nbytes
    for seed in range(50):
        subject.update(EVERY, frame(world(0), seed))
    assert subject.nbytes == before

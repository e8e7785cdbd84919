"""Metrics: held against MONAI and brute force, worked out by hand, and rules for empty masks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
)
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from benchmarks.quality.case_scores import (
    CaseScores,
    ScoreTable,
    legacy_score_classes,
    score_classes,
)
from benchmarks.quality.metrics import EmptyRule, Spread, dsc, hd95, iou, legacy_score, score

Pair = tuple[np.ndarray, np.ndarray]


def square(x: int, side: int = 10, size: int = 50) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[20 : 20 + side, x : x + side] = True
    return mask


def random_pairs(count: int, shapes: list[tuple[int, ...]], seed: int) -> Iterator[Pair]:
    """Blobs of every size beside specks, touching the image's edge or not; neither ever empty."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        shape = shapes[number % len(shapes)]
        noise = [
            gaussian_filter(generator.normal(size=shape), generator.uniform(0, 2)) for _ in "ab"
        ]
        mixed = noise[0] + generator.uniform(0, 2) * noise[1]
        pair = [one > np.quantile(one, generator.uniform(0.3, 0.99)) for one in (noise[0], mixed)]
        yield pair[0], pair[1]


def monai_scores(one: np.ndarray, other: np.ndarray, spacing: list[float] | None) -> list[float]:
    found, truth = (torch.from_numpy(mask)[None, None].float() for mask in (one, other))
    distances = [
        compute_hausdorff_distance(found, truth, True, spacing=spacing),
        compute_hausdorff_distance(found, truth, True, percentile=95, spacing=spacing),
        compute_average_surface_distance(found, truth, True, symmetric=True, spacing=spacing),
    ]
    return [float(v) for v in (compute_dice(found, truth), compute_iou(found, truth), *distances)]


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call
@pytest.mark.parametrize(
    ("shapes", "spacing"),
    [
        ([(20, 31), (33, 12)], None),
        ([(24, 24)], [0.5, 2.0]),
        ([(9, 14, 11), (12, 7, 16)], None),
        ([(8, 16, 13)], [3.0, 0.7, 0.8]),
    ],
)
def test_a_thousand_random_pairs_score_as_in_monai(
    shapes: list[tuple[int, ...]], spacing: list[float] | None
) -> None:
    for one, other in random_pairs(250, shapes, seed=len(shapes[0])):
        ours = score(one, other, spacing=spacing)
        expected = monai_scores(one, other, spacing)
        assert [ours.dsc, ours.iou, ours.hd, ours.hd95, ours.assd] == pytest.approx(
            expected, rel=1e-5, abs=1e-5
        )


def test_legacy_distance_is_the_percentile_of_both_directions_by_brute_force() -> None:
    def border(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        around = [np.roll(padded, step, axis) for axis in range(mask.ndim) for step in (1, -1)]
        return np.argwhere(padded & ~np.logical_and.reduce(around))

    for one, other in random_pairs(40, [(20, 31), (9, 14, 11)], seed=7):
        apart = cdist(border(one), border(other))
        both = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
        assert legacy_score(one, other).hd95 == pytest.approx(float(np.percentile(both, 95)))
        assert legacy_score(one, other).dsc == dsc(one, other)


def test_overlap_of_two_squares() -> None:
    assert dsc(square(10), square(15)) == pytest.approx(0.5)
    assert iou(square(10), square(15)) == pytest.approx(1 / 3)
    assert dsc(square(10), square(10)) == iou(square(10), square(10)) == 1
    assert dsc(square(5), square(30)) == iou(square(5), square(30)) == 0


def test_distances_of_two_squares_in_pixels_and_in_millimetres() -> None:
    assert score(square(10), square(10)).hd == 0
    assert hd95(square(10), square(13)) == pytest.approx(3)
    assert hd95(square(10), square(13), spacing=(5.0, 0.5)) == pytest.approx(1.5)
    speck = square(10)
    speck[45, 45] = True
    assert hd95(speck, square(10)) < 1, "a single far pixel is below the 95th percentile"
    assert score(speck, square(10)).hd == pytest.approx(np.hypot(45 - 29, 45 - 19))


@pytest.mark.parametrize(
    ("rule", "both", "one"),
    [
        (EmptyRule.WORST, (1, 1, 0, 0, 0), (0, 0, 50, 50, 50)),
        (EmptyRule.SKIP, (np.nan,) * 5, (0, 0, np.nan, np.nan, np.nan)),
    ],
)
def test_rules_for_empty_masks(
    rule: EmptyRule, both: tuple[float, ...], one: tuple[float, ...]
) -> None:
    empty = np.zeros((30, 40), bool)
    for found, truth, expected in [
        (empty, empty, both),
        (~empty, empty, one),
        (empty, ~empty, one),
    ]:
        ours = score(found, truth, empty=rule)
        got = (ours.dsc, ours.iou, ours.hd, ours.hd95, ours.assd)
        assert got == pytest.approx(expected, nan_ok=True)
    volume = np.zeros((10, 3, 4), bool)
    assert score(volume, ~volume, spacing=(0.0001, 1, 1)).hd == pytest.approx(5, abs=1e-4)


def test_legacy_rewards_false_alarms_and_full_misses_as_the_published_code_does() -> None:
    empty = np.zeros((30, 40), bool)
    for found, truth, expected in [(~empty, empty, 1), (empty, ~empty, 0), (empty, empty, 0)]:
        ours = legacy_score(found, truth)
        assert (ours.dsc, ours.hd95) == (expected, 0)


def test_masks_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(50, 50\) and \(40, 40\)"):
        score(square(10), square(10, size=40))
    for spacing in ((1.0,), (1.0, 0.0)):
        with pytest.raises(ValueError, match="positive spacing for each of 2 axes"):
            score(square(10), square(10), spacing=spacing)


def test_a_table_averages_over_cases_then_classes_and_leaves_out_what_has_no_value(
    tmp_path: Path,
) -> None:
    truth = np.where(square(10), 1, 0)
    blank = np.zeros_like(truth)
    ignoring = truth.copy()
    ignoring[20:30, 20:30] = 255
    drawn = np.where(square(10, side=20), 1, 0) * np.where(np.arange(50) < 30, 1, 0)
    skip = EmptyRule.SKIP
    first = score_classes(truth, truth, [1, 2], empty=skip)
    second = score_classes(blank, truth, [1, 2], empty=skip)
    table = ScoreTable((CaseScores("a", first), CaseScores("b", second)))
    assert table.over_cases(1, "dsc") == Spread(0.5, 0.5, 2)
    assert table.over_cases(2, "dsc").count == 0
    assert table.mean("dsc") == 0.5
    assert legacy_score_classes(blank, truth, [1])[1].hd95 == 0
    overdrawn = np.where(square(10) | square(20), 1, 0)
    assert score_classes(overdrawn, ignoring, [1])[1].dsc == 1, "ignored pixels count for nothing"
    assert score_classes(drawn, truth, [1])[1].dsc < 1
    table.write_csv(tmp_path / "cases.csv", {1: "grasper"})
    with (tmp_path / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"case": "a", "class": "grasper", "dsc": "1", "iou": "1"} | dict.fromkeys(
        ("hd", "hd95", "assd"), "0"
    )
    assert (rows[3]["class"], rows[3]["dsc"]) == ("2", "")


def test_spread_leaves_out_units_without_a_value() -> None:
    spread = Spread.of([1.0, 0.0, float("nan")])
    assert (spread.mean, spread.std, spread.count) == (0.5, 0.5, 2)

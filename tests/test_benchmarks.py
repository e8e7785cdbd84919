"""Metrics on cases worked out by hand, and the accuracy benchmark end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metrics import Spread, dsc, hd95, iou
from benchmarks.variants import VARIANTS, Tally
from service.cli import main


def square(x: int, side: int = 10, size: int = 50) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[20 : 20 + side, x : x + side] = True
    return mask


def test_overlap_of_two_squares() -> None:
    assert dsc(square(10), square(15)) == pytest.approx(0.5)
    assert iou(square(10), square(15)) == pytest.approx(1 / 3)
    assert dsc(square(10), square(10)) == iou(square(10), square(10)) == 1
    assert dsc(square(5), square(30)) == iou(square(5), square(30)) == 0


def test_border_distance() -> None:
    assert hd95(square(10), square(10)) == 0
    assert hd95(square(10), square(13)) == pytest.approx(3)
    one = square(10)
    speck = one.copy()
    speck[45, 45] = True
    assert hd95(speck, one) < 5, "a single far pixel is below the 95th percentile"


def test_border_distance_equals_brute_force() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = (generator.random((12, 12)) < 0.3 for _ in range(2))

        def border(mask: np.ndarray) -> np.ndarray:
            padded = np.pad(mask, 1)
            inner = np.ones_like(mask)
            for dy in range(3):
                for dx in range(3):
                    inner &= padded[dy : dy + 12, dx : dx + 12]
            return np.argwhere(mask & ~inner)

        first, second = border(a), border(b)
        distance = np.linalg.norm(first[:, None] - second[None], axis=2)
        both = np.concatenate([distance.min(axis=1), distance.min(axis=0)])
        assert hd95(a, b) == pytest.approx(float(np.percentile(both, 95)), abs=1e-4)


def test_rules_for_empty_masks() -> None:
    empty = np.zeros((30, 40), bool)
    full = ~empty
    assert (dsc(empty, empty), iou(empty, empty), hd95(empty, empty)) == (1, 1, 0)
    assert (dsc(empty, full), iou(full, empty), hd95(full, empty)) == (0, 0, 50)


def test_absent_classes_are_alarms_not_scores() -> None:
    tally, empty = Tally(), np.zeros((50, 50), bool)
    tally.add(1, square(10), square(10))
    tally.add(1, square(10), empty)
    tally.add(1, empty, empty)
    assert tally.class_dsc() == 1
    assert tally.alarm_share() == 0.5


def test_spread_leaves_out_units_without_a_value() -> None:
    spread = Spread.of([1.0, 0.0, float("nan")])
    assert (spread.mean, spread.std, spread.count) == (0.5, 0.5, 2)


def test_accuracy_on_a_folder(
    phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    data = str(phantom_folder)
    arguments = ["bench", "accuracy", data, "--shots", "6", "--seeds", "1", "--json", str(out)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    assert set(result["variants"]) == set(VARIANTS)
    assert result["environment"]["torch"]
    for row in result["variants"].values():
        assert 0 <= row["mean"]["dsc"]["mean"] <= 1
        assert "foreground" in row["classes"]
    assert out.with_suffix(".png").stat().st_size > 5000
    assert "support memory alone" in capsys.readouterr().out

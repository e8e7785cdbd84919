"""The tally of a benchmark, and the accuracy benchmark end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.variants import VARIANTS, Tally
from service.cli import main


def square(x: int, side: int = 10, size: int = 50) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[20 : 20 + side, x : x + side] = True
    return mask


def test_absent_classes_are_alarms_not_scores() -> None:
    tally, empty = Tally(), np.zeros((50, 50), bool)
    tally.add(1, square(10), square(10))
    tally.add(1, square(10), empty)
    tally.add(1, empty, empty)
    assert tally.class_dsc() == 1
    assert tally.alarm_share() == 0.5


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

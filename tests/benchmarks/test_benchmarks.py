"""The tally of a benchmark, and the accuracy benchmark end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.flicker import changes_a_second, flicker
from benchmarks.quality.naming_rate import rightly_named
from benchmarks.speed.variants import VARIANTS, Tally
from models.phantom import PhantomFrame
from models.types import UNNAMED_ID, UInt8Array
from service.commands.main import main


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


def test_flicker_counts_what_changes_on_an_instrument_that_stays() -> None:
    """Two instruments, one of which leaves and comes back."""
    blank = np.zeros((40, 40), np.uint8)
    instance, classes = blank.copy(), blank.copy()
    instance[:10], instance[20:30] = 1, 2
    classes[:10], classes[20:30] = 4, 5
    both = PhantomFrame(np.zeros((40, 40, 3), np.uint8), classes, instance)
    one = PhantomFrame(both.image_rgb, classes * (instance == 1), instance * (instance == 1))

    def drawn(first: int, second: int) -> UInt8Array:
        found = blank.copy()
        found[:10], found[20:30] = first, second
        return found

    answers = [
        (drawn(4, 5), both), (drawn(4, 0), both), (drawn(UNNAMED_ID, 0), both),
        (drawn(4, 7), one), (drawn(4, 7), both), (drawn(4, 5), both),
    ]  # fmt: skip
    seen = flicker(answers)
    assert seen == {"seen": 8, "outline_changes": 1, "name_comes_or_goes": 2, "name_for_another": 1}
    assert changes_a_second(seen + seen, 25.0) == {
        "fps": 25.0,
        "instrument_seconds": 0.64,
        "outline_changes_a_second": 3.125,
        "name_comes_or_goes_a_second": 6.25,
        "name_for_another_a_second": 3.125,
    }


def test_what_is_of_unknown_kind_has_no_wrong_name() -> None:
    classes = np.full((10, 10), 3, np.uint8)
    frame = PhantomFrame(np.zeros((10, 10, 3), np.uint8), classes, np.ones_like(classes))
    found = np.full_like(classes, UNNAMED_ID)
    assert rightly_named(found, frame) == [0.0]
    found[:3] = 3
    assert rightly_named(found, frame) == [1.0]
    found[3:7] = 4
    assert rightly_named(found, frame) == [0.0]

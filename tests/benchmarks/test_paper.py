"""`trocar paper` as its users see it: settings, splits, kill and resume, the report."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.paper.case import CaseResult, ClassScores, Segmented, score_case
from benchmarks.paper.published import PUBLISHED
from benchmarks.paper.report import why
from benchmarks.paper.setting import Setting
from benchmarks.paper.split import Limits, split
from benchmarks.paper.summary import MethodSummary, SeedScore, seed_score
from models.datasets.phantom_dataset import PhantomSetConfig
from models.datasets.registry import open_dataset, write_fixture
from models.datasets.sequences import AnnotatedSequence
from models.errors import DatasetError, ModelError
from models.types import UNNAMED_ID, ClassSpec
from service.commands.main import main

METHODS = "sam2_first_mask,support_memory,color"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips of four procedures in the AutoLaparo layout."""
    root = tmp_path_factory.mktemp("autolaparo")
    config = PhantomSetConfig(
        sequences=8, procedures=4, frames=3, size=(96, 128), seed=3, tissue=False
    )
    for _ in write_fixture("autolaparo", root, config):
        pass
    return root


def command(data: Path, out: Path) -> list[str]:
    return [
        "paper", "--dataset", "autolaparo", "--root", str(data), "--setting", "25%", "--seeds", "2",
        "--methods", METHODS, "--ablations", "no_learner", "--test-cases", "2", "--effort", "0.1",
        "-o", str(out),
    ]  # fmt: skip


def started(data: Path, out: Path) -> subprocess.Popen[bytes]:
    """A process of its own, on one thread: the same sums in the same order."""
    return subprocess.Popen(
        [sys.executable, "-m", "service.commands.main", *command(data, out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("paper") / "run"
    process = started(data, out)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said.decode()
    return out


def test_killed_and_resumed_it_ends_the_same(data: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = started(data, out)
    deadline = time.monotonic() + 120
    while len(list(out.glob("cases/*/*/*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cases/*/*/*.json")}
    wanted = {path.relative_to(finished) for path in finished.glob("cases/*/*/*.json")}
    assert 4 <= len(kept) < len(wanted)
    again = started(data, out)
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said.decode()
    for path, written in kept.items():
        assert path.stat().st_mtime_ns == written, "what was done is not done again"
    for name in [*wanted, Path("cases.csv"), Path("report.md"), Path("run.json")]:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_the_report_says_what_must_be_said(finished: Path) -> None:
    text = (finished / "report.md").read_text()
    assert "Far too few for a claim" in text
    assert "0.1 of their steps: not a comparison" in text
    assert "sees a test label that no other method sees" in text
    assert "not known to us" in text
    assert "82.52" not in text, "that figure belongs to another data set"
    assert "Where the whole method loses" in text
    for title in ("OFL-SAM2", "support memory", "colour alone", "no learner"):
        assert title in text
    content = json.loads((finished / "result.json").read_text())
    full = content["methods"]["ofl_sam2"]["over_seeds"]["dsc"]
    assert full["count"] == 2
    assert f"{full['mean']:.3f} ± {full['std']:.3f}" in text


def test_every_case_has_its_lines_and_a_picture(finished: Path) -> None:
    with (finished / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {"ofl_sam2", *METHODS.split(","), "no_learner"}
    assert {row["seed"] for row in rows} == {"0", "1"}
    assert all(0 <= float(row["dsc"]) <= 1 for row in rows if row["dsc"])
    panels = list((finished / "panels").glob("*.png"))
    assert panels
    picture = cv2.imread(str(panels[0]))
    assert picture is not None
    assert picture.shape[0] > 400, "two rows: image, truth and four methods"


def test_another_run_is_not_mixed_in(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = command(data, finished)
    other[other.index("25%")] = "40%"
    assert main(other) == 2
    assert "holds a run with setting 25%, this one has 40%" in capsys.readouterr().err


def test_no_procedure_is_on_both_sides(data: Path) -> None:
    dataset = open_dataset("autolaparo", data)
    for seed in range(6):
        drawn = split(dataset, Setting.of("25%"), seed, Limits(128, None))
        fitted = {one.group for one in drawn.fit}
        assert fitted.isdisjoint(one.group for one in drawn.test)
        assert len(drawn.fit) == 2
        assert len(drawn.fit) + len(drawn.unused) + len(drawn.test) == 8
    first = split(dataset, Setting.of("2 shots"), 1, Limits(128, 1))
    assert (len(first.shots.pairs), len(first.test)) == (2, 1)


def test_a_single_sequence_gives_no_more_frames_than_it_may(data: Path) -> None:
    """Its first half is for fitting, and of that evenly spaced frames."""
    dataset = open_dataset("autolaparo", data)
    frames = tuple(frame for one in dataset.sequences for frame in one.annotated())
    single = replace(dataset, sequences=(replace(dataset.sequences[0], frames=frames),))
    drawn = split(single, Setting.of("50%"), 0, Limits(4, None))
    (fit,), (test,) = drawn.fit, drawn.test
    assert (len(fit.frames), len(test.frames)) == (12, 12)
    assert len(drawn.shots.pairs) == 4
    for (image, _), number in zip(drawn.shots.pairs, (0, 4, 7, 11), strict=True):
        assert np.array_equal(image, fit.frames[number].read_image())
    few = split(single, Setting.of("3 shots"), 0, Limits(128, None))
    assert len(few.shots.pairs) == 3


def test_a_draw_that_leaves_nothing_to_test_is_refused(data: Path) -> None:
    dataset = open_dataset("autolaparo", data)
    with pytest.raises(DatasetError, match="leaves a group to test on"):
        split(dataset, Setting.of("95%"), 0, Limits(128, None))


@pytest.mark.parametrize("text", ["", "0%", "100%", "many", "0", "-3", "0 shots"])
def test_settings_that_mean_nothing(text: str) -> None:
    with pytest.raises(ModelError, match="expected a setting like"):
        Setting.of(text)


def test_settings_that_do() -> None:
    texts = ("5%", "12.5 %", "3", "2 volumes", "1 shot", "8 shots")
    assert [str(Setting.of(text)) for text in texts] == [
        "5%", "12.5%", "3 volumes", "2 volumes", "1 shot", "8 shots",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--methods", "sam3"), "expected methods of ofl_sam2"),
        (("--ablations", "k_9"), "expected ablations of no_learner"),
        (("--dataset", "atlas"), "expected a data set of"),
        (("--backbone", "base_plus", "--checkpoint", "none.pt"), "expected a SAM2.1 checkpoint at"),
        (("--choice", "parts"), "expected a choice NAME=VALUE"),
    ],
)
def test_bad_input_is_one_line(
    changed: tuple[str, ...], said: str, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main([*command(data, tmp_path / "out"), *changed]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("*.json")), "nothing was begun"


def case(dsc: list[float | None], visible: list[bool], drawn: list[bool]) -> CaseResult:
    scores = ClassScores({"dsc": dsc, "hd95": [None] * len(dsc)}, visible, drawn, {})
    return CaseResult("001", "p", {1: scores}, dsc, 10, 6, {"accepted": 1, "refused": 3})


def test_drawing_an_absent_class_costs() -> None:
    honest = seed_score([case([0.8, None], [True, False], [True, False])])
    eager = seed_score([case([0.8, 0.0], [True, False], [True, True])])
    assert (honest.dsc, honest.visible_dsc, honest.alarms) == (0.8, 0.8, 0)
    assert (eager.dsc, eager.visible_dsc, eager.alarms) == (0.4, 0.8, 1)
    assert (honest.named, honest.taught) == (0.6, 0.25)


def test_an_instrument_of_unknown_kind_is_found_and_not_wrongly_named() -> None:
    truth = np.full((1, 8), 3, np.uint8)
    found = np.array([[3, 3, 3, 4, UNNAMED_ID, UNNAMED_ID, 0, 0]], np.uint8)
    classes = [ClassSpec(3, "hook", "#ff0000"), ClassSpec(4, "clipper", "#00ff00")]
    result = score_case(AnnotatedSequence("a", (), "a"), classes, Segmented((found,), (truth,), {}))
    assert (result.found, result.named) == (4, 3)
    assert result.any_dsc == [pytest.approx(2 * 6 / 14)]
    assert result.classes[3].metrics["dsc"] == [pytest.approx(2 * 3 / 11)]


def summary_of(*dsc: float, named: float) -> MethodSummary:
    return MethodSummary(
        tuple(SeedScore(one, one, 9.0, 0.8, named, 0.1, 0.0, 0.0, {1: one}) for one in dsc)
    )


def test_a_loss_is_explained_by_what_was_measured() -> None:
    full = summary_of(0.5, 0.4, named=0.6)
    assert why("U-Net", full, summary_of(0.3, 0.3, named=0.5)) is None
    said = why("U-Net", full, summary_of(0.6, 0.7, named=0.9))
    assert said is not None
    assert "ahead by 0.200 (in 2 of 2 seeds)" in said
    assert "naming (right name where found) 0.60 against 0.90" in said
    assert "finding" not in said.split(":", 1)[1], "both find as much"


def test_published_figures_are_those_that_are_known() -> None:
    assert PUBLISHED == {
        ("synapse", "3 volumes"): {
            "ofl_sam2": 82.52, "lora_hierarchical": 80.12, "retrieval": 76.38,
        }
    }  # fmt: skip

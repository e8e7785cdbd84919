"""`trocar bench`: its commands end to end at their shortest, and what they work out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.quality.metrics import Spread
from benchmarks.quality.streaming_accuracy import TimedMask, play
from benchmarks.report import write_report
from benchmarks.result_file import write_result
from benchmarks.speed import scale as scaling
from benchmarks.speed import tour
from benchmarks.speed.ratios import TOLERANCE, WHAT, read_baseline, regressions, short_ratios
from benchmarks.speed.timing import ratio
from models.errors import DatasetError
from models.types import UInt8Array
from service.commands.main import main

RESULTS = Path(__file__).parents[2] / "benchmarks/results"


def measured(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    assert {"processor", "torch", "commit", "threads"} <= set(content["environment"])
    assert content["settings"]
    return content


def test_stages_peers_and_their_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found"
    stages, peers = str(found / "s.json"), str(found / "p.json")
    short = ["--engines", "onnx", "--frames", "8", "--note", "in a test"]
    assert main(["bench", "stages", *short, "--json", stages]) == 0
    assert main(["bench", "peers", *short, "--rounds", "1", "--json", peers]) == 0
    numbers = measured(found / "s.json")["engines"]["onnx"]
    assert numbers["step_ms"]["n"] == len(numbers["step_samples_ms"]) == 8
    assert sum(one["share"] for one in numbers["stages"].values()) == pytest.approx(1, abs=0.01)
    assert 0 < numbers["floor"]["fraction_reached"] < 1.5
    outside = {"mapping and fusion", "statistics and descent"}
    assert set(numbers["floor"]["floor_ms"]) - outside <= set(numbers["stages"])
    times = measured(found / "p.json")["times_the_predictor"]
    assert times["onnx"]["n"] == times["onnx, by the head alone"]["n"] == 1
    shown = capsys.readouterr().out
    assert "sam2's own video predictor" in shown
    assert "floor" in shown
    (found / "other.json").write_text('{"kind": "of which it knows nothing"}')
    assert main(["bench", "report", str(found), "-o", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "report.md").read_text()
    assert "Results of other kinds: other.json." in page
    assert "encode_image" in page
    assert "in a test" in page
    for picture in ("s-latency.png", "s-stages.png"):
        assert picture in page
        assert (tmp_path / "page" / picture).stat().st_size > 5000


def test_a_step_by_the_head_alone_runs_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "s.json"
    short = ["bench", "stages", "--engines", "onnx", "--frames", "8", "--json", str(file)]
    assert main([*short, "--instances"]) == 0
    numbers = measured(file)["engines"]["onnx"]
    graphs = {"see_instruments"}
    assert set(numbers["floor"]["floor_ms"]) == graphs
    assert {name for name in numbers["stages"] if "outside" not in name} == graphs
    assert main([*short, "--instances", "--backbone", "tiny"]) == 2
    assert "--instances: expected backbone nano, got tiny" in capsys.readouterr().err


def test_the_tour_prints_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FRAMES": 3, "ROUNDS": 1, "PEER_FRAMES": 7, "POINT_S": 0.1}.items():
        monkeypatch.setattr(tour, name, value)
    assert main(["bench", "--json", str(tmp_path / "tour.json")]) == 0
    content = measured(tmp_path / "tour.json")
    assert content["classes"]["4"]["times_the_first"] > 0
    shown = capsys.readouterr().out
    assert "torch / onnx" in shown
    assert "updates: p95" in shown


@pytest.mark.alone
def test_ratios_are_no_worse_than_the_committed_ones() -> None:
    """Ratios, not times; a median over frames that every run steps through in turn."""
    assert regressions(short_ratios(), read_baseline()) == []


def test_a_real_regression_is_told() -> None:
    baseline = read_baseline()
    assert set(baseline["ratios"]) == set(WHAT)
    noisy = {name: was * 1.3 for name, was in baseline["ratios"].items()}
    assert regressions(noisy, baseline) == []
    slow = noisy | {"onnx over torch": baseline["ratios"]["onnx over torch"] * TOLERANCE * 1.1}
    [line] = regressions(slow, baseline)
    assert line.startswith("onnx over torch")


def test_display_on_a_virtual_clock() -> None:
    """Frames every 100 ms; masks come after 150 ms, the model is free after 250 ms."""
    images: list[UInt8Array] = [np.full((2, 2), number, np.uint8) for number in range(8)]
    seen = []

    def segment(image: UInt8Array) -> TimedMask:
        seen.append(int(image[0, 0]))
        return TimedMask(image, 0.15, 0.25)

    shown = play(images, 10, segment)
    # Taken at 0, 0.25, 0.5 and 0.75 s: frames 0, 2, 5, 7; masks at 0.15, 0.4, 0.65, 0.9 s.
    assert seen == [0, 2, 5, 7]
    assert shown.source == [None, None, 0, 0, 2, 2, 2, 5]


def test_a_model_faster_than_the_stream_sees_every_frame() -> None:
    images: list[UInt8Array] = [np.full((2, 2), number, np.uint8) for number in range(5)]
    shown = play(images, 10, lambda image: TimedMask(image, 0.02, 0.05))
    assert sorted(shown.maps) == [0, 1, 2, 3, 4]
    assert shown.source == [None, 0, 1, 2, 3]
    at_once = play(images, 10, lambda image: TimedMask(image, 0.0, 0.0))
    assert at_once.source == [0, 1, 2, 3, 4]


def test_a_ratio_has_its_spread() -> None:
    assert ratio([1.0, 1.0, 1.0], [2.0, 3.0, 4.0]) == {
        "median": 3.0, "p25": 2.5, "p75": 3.5, "n": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["stages", "--engines", "abacus", "--json", "x"],
            "expected engines of auto, torch",
        ),
        (["stages", "--image-size", "100", "--json", "x"], "expected a multiple of 32"),
        (["soak", "--frames", "9", "--json", "x"], "expected ten frames or more, got '9'"),
        (["stages"], "--json"),
        (["fly"], "invalid choice"),
    ],
)
def test_bad_arguments(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


def test_the_gpu_benchmark_needs_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["bench", "gpu", "--json", "unwritten.json"]) == 2
    assert "expected a CUDA device, found none" in capsys.readouterr().err


@pytest.mark.parametrize("frames", ["10", "20"])
def test_a_soak_says_whether_steps_stay_as_quick(tmp_path: Path, frames: str) -> None:
    path = tmp_path / "soak.json"
    assert main(["bench", "soak", "--frames", frames, "--json", str(path)]) == 0
    content = measured(path)
    assert len(content["step_ms_p50_by_tenth"]) == len(content["resident_mb_by_tenth"]) == 10
    assert content["last_over_second_tenth"] > 0


def test_scale_and_streaming_accuracy_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "CLASSES", (1, 2))
    monkeypatch.setattr(scaling, "SESSIONS", (1, 2))
    monkeypatch.setattr(scaling, "VIEWERS", (1, 2))
    scale, streaming = tmp_path / "scale.json", tmp_path / "streaming.json"
    short = ["--seconds", "1", "--largest", "256"]
    assert main(["bench", "scale", *short, "--json", str(scale)]) == 0
    axes = measured(scale)["axes"]
    assert set(axes) == {"classes", "image size", "sessions", "viewers"}
    assert axes["viewers"]["2"]["ms_a_picture"] > 0
    arguments = ["--clips", "1", "--seconds", "1", "--engines", "onnx"]
    assert main(["bench", "streaming-accuracy", *arguments, "--json", str(streaming)]) == 0
    for row in measured(streaming)["engines"]["onnx"].values():
        assert 0 < row["frames_seen"] <= 1
    assert main(["bench", "report", str(tmp_path), "-o", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "scale-classes.png").stat().st_size > 5000


def test_a_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "report", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "expected results of stages" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(Exception, match=r"broken\.json: expected a JSON result"):
        write_report(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("soak", "--json", "{folder}"), "ends in .json"),
        (("soak", "--json", "{folder}/result.png"), "ends in .json"),
        (("soak", "--json", "{folder}/file/result.json"), "cannot write"),
        (("stages", "--classes", "255", "--json", "{folder}/r.json"), "1 to 254 classes"),
        (("stages", "--classes", "9" * 30, "--json", "{folder}/r.json"), "1 to 254 classes"),
        (("scale", "--largest", "64", "--json", "{folder}/r.json"), "256 to 1024"),
        (("loopback", "--size", "16x16", "--json", "{folder}/r.json"), "192x32 at least"),
        (("peers", "--frames", "6", "--json", "{folder}/r.json"), "seven frames or more"),
        (("steady", "--minutes", "2", "--json", "{folder}/r.json"), "three minutes or more"),
    ],
)
def test_what_cannot_end_well_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as refused:
        main(["bench", *(one.format(folder=tmp_path) for one in arguments)])
    assert refused.value.code == 2
    assert expected in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_benchmark_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "soak.json"
    file.write_text("{}")
    monkeypatch.setattr("benchmarks.speed.soak.measure_soak", interrupted)
    assert main(["bench", "soak", "--json", str(file)]) == 130
    assert "interrupted; no result was written" in capsys.readouterr().err
    assert file.read_text() == "{}", "what was there stays"


def test_a_result_that_is_not_whole_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"kind": "stages"}')
    with pytest.raises(DatasetError, match=r"cut\.json: expected a result of stages"):
        write_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_committed_results_make_one_page(tmp_path: Path) -> None:
    """Of every kind, the live ones among them; a GPU is named where it was used."""
    page = write_report(RESULTS, tmp_path).read_text()
    for name in ("gpu_h200", "stages", "peers", "loopback", "in_browser", "steady", "exactness"):
        assert f"## {name}\n" in page
    assert "sam2's compiled variant untuned" in page
    assert "tensorrt: not measured" in page
    assert page.count("NVIDIA H200; torch") == 1
    assert "by the head alone" in page


def test_the_floor_counts_the_head_for_every_engine(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    short = ["bench", "stages", "--frames", "6", "--instances", "--json", str(file)]
    assert main(short) == 0
    torch_, onnx = (measured(file)["engines"][name]["floor"] for name in ("torch", "onnx"))
    whole = [sum(one["giga_operations"].values()) for one in (torch_, onnx)]
    assert whole[0] == pytest.approx(whole[1], rel=0.01)
    assert torch_["matrix_product_gflops"] == {"f32": onnx["matrix_product_gflops"]["f32"]}


def test_numbers_that_are_none_are_valid_json(tmp_path: Path) -> None:
    write_result({"one": float("nan"), "list": [1.0, float("inf")]}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {"one": None, "list": [1.0, None]}
    assert str(Spread(0.5, 0.0, 1)) == "0.500", "of one there is no spread"

"""Engines: each agrees with torch, frame by frame, updates included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.speed.parity import measure_parity
from models.backbone.memory_bank import BankShape
from models.engines import onnx_files as onnx_module
from models.engines.export import export_weights, random_weights
from models.engines.interface import EngineChoice, one_pool
from models.engines.onnx_files import FOLDERS, file_names, onnx_files
from models.engines.open import open_engine
from models.engines.openvino_engine import OpenVinoEngine
from models.errors import EngineError
from models.method.cache import forget_unused, writable
from models.method.checkpoint import LoadedWeights
from models.method.profile import load_profile
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import UInt8Array, Update
from tests.support.captured_steps import Unwrapped, demo_frames


def iou(found: UInt8Array, truth: UInt8Array) -> float:
    """Share of the drawn pixels that have the same class; one where nothing is drawn."""
    drawn = (found > 0) | (truth > 0)
    return float((found == truth)[drawn].mean()) if drawn.any() else 1.0


def shape_of(weights: LoadedWeights, rows: int) -> BankShape:
    return BankShape(rows, 2, 3, weights.model.backbone.config)


@pytest.mark.parametrize(
    ("precision", "ablation"),
    [
        (None, Ablation(gamma=0.5, instances=False)),
        ("f32", replace(Ablation.for_video(gamma=0.5), instances=False)),
        (None, Ablation.for_video(gamma=0.5)),
    ],
)
def test_onnx_sees_and_learns_what_torch_does(
    weights: LoadedWeights, precision: str | None, ablation: Ablation
) -> None:
    """200 frames with updates on, and a gate low enough to fire; by the head alone, which learns
    from nobody but a person.
    """
    found = measure_parity(weights, ablation, EngineChoice("onnx", precision))
    assert found["frames"] == 200
    if not ablation.instances:
        least = 40 if ablation.learn_per_frame is None else 5
        assert found["taught_frames"] >= least, "agreement on what nothing teaches says little"
    assert found["mean_iou"] >= 0.99
    assert found["same_decisions"] >= 0.99
    assert abs(found["dsc"]["onnx"] - found["dsc"]["torch"]) <= 0.005


def test_any_number_of_rows_learns_as_in_torch(weights: LoadedWeights, tmp_path: Path) -> None:
    """There are graphs for 1 to 4 rows and for 6; five rows are padded to six."""
    engine = OpenVinoEngine(weights, shape_of(weights, 6), "f32", tmp_path)
    backbone, features = weights.model.backbone, torch.randn(1, 128, 16, 16)
    with torch.inference_mode():
        for rows in range(1, 7):
            mask, present = torch.randn(rows, 1, 64, 64) * 5, torch.arange(rows) % 2 == 0
            memory = backbone.encode_memory(features, mask, present)
            found = engine.encode_memory(features, mask, present)
            torch.testing.assert_close(found, memory, atol=1e-4, rtol=1e-4)
            own = (memory, torch.randn(rows, 128))
            torch.testing.assert_close(
                engine.attend_own(features, *own), backbone.attend_own(features, *own),
                atol=1e-4, rtol=1e-4,
            )  # fmt: skip


def test_the_instance_head_is_a_graph_where_weights_have_one(tmp_path: Path) -> None:
    small = export_weights("nano", 64)
    engine = OpenVinoEngine(small, shape_of(small, 1), "f32", tmp_path)
    head, see = small.model.instance_head, engine.see_instruments
    assert head is not None
    assert see is not None
    with torch.inference_mode():
        image = small.model.backbone.normalize(torch.rand(1, 3, 64, 64) * 255)
        features = small.model.backbone.encode_image(image)
        (seen, found), wanted = see(image), head(features, image)
    torch.testing.assert_close(seen.stride4, features.stride4, rtol=1e-3, atol=1e-3)
    for name in ("instrument", "vote", "texture", "attention"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=1e-3, atol=1e-3
        )
    bare = random_weights(small.model.config.backbone)
    assert OpenVinoEngine(bare, shape_of(bare, 1), "f32", tmp_path).see_instruments is None


def test_files_are_exported_once_and_for_their_content_only(
    weights: LoadedWeights, tmp_path: Path
) -> None:
    first = onnx_files(weights, shape_of(weights, 1), tmp_path)
    assert sorted(path.stem for path in first.iterdir()) == sorted(file_names(weights.model))
    written = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert onnx_files(weights, shape_of(weights, 1), tmp_path) == first
    assert written == {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert onnx_files(weights, shape_of(weights, 2), tmp_path) != first


def test_a_failed_export_leaves_nothing_behind(
    weights: LoadedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("scripted")

    monkeypatch.setattr(onnx_module, "export_graph", fail)
    with pytest.raises(RuntimeError, match="scripted"):
        onnx_files(weights, shape_of(weights, 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_done_without(
    weights: LoadedWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder takes its place: the same one every time, and nobody else's."""
    in_the_way, temporary = tmp_path / "file", tmp_path / "tmp"
    in_the_way.write_text("")
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    shape = shape_of(weights, 1)
    folder = onnx_files(weights, shape, in_the_way / "cache")
    assert (folder / "encode_image.onnx").is_file()
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert onnx_files(weights, shape, in_the_way / "cache") == folder
    folder.parent.chmod(0o777)  # as one that somebody else may write to
    assert writable(in_the_way / "cache") not in (folder.parent, in_the_way / "cache")


def test_only_old_folders_of_its_own_kind_leave_a_cache(tmp_path: Path) -> None:
    """Fetched weights and plans lie beside the files, older than all of them."""
    kept = ["weights", "trt-" + 24 * "b", *(f"{n:024x}" for n in range(2, 10))]
    for age, name in enumerate(["part-x", f"{0:024x}", f"{1:024x}", *kept]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    forget_unused(tmp_path, FOLDERS)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(kept)


def test_the_engine_brings_no_telemetry() -> None:
    code = "import sys, models.tracking.tracker as t; t.Tracker.open('instrument', engine='onnx');"
    code += "print([name for name in sys.modules if 'openvino_telemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_engines_are_refused(weights: LoadedWeights) -> None:
    shape = shape_of(weights, 1)
    with pytest.raises(EngineError, match=r"expected an engine of auto, .*, got abacus"):
        open_engine(EngineChoice("abacus"), weights, shape)
    with pytest.raises(EngineError, match="expected precision bf16 or f32, got int3"):
        open_engine(EngineChoice("onnx", "int3"), weights, shape)


@pytest.mark.parametrize("instances", [False, True])
def test_what_gpu_engines_share_sees_and_learns_what_torch_does(
    weights: LoadedWeights, instances: bool, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    import models.tracking.tracker as module

    profile, ablation = load_profile("phantom"), Ablation(gamma=0.5, instances=instances)
    oracle = Tracker(weights, profile, ablation)
    monkeypatch.setattr(module, "open_engine", lambda choice, *rest, **_: Unwrapped(*rest))
    other = Tracker(weights, profile, ablation)
    assert isinstance(other.engine, Unwrapped)
    decided = []
    for image in demo_frames(101, 12):
        expected, result = oracle.step(image), other.step(image)
        assert iou(result.class_map, expected.class_map) >= 0.999
        decided.append([one.update for one in result.results])
        assert decided[-1] == [one.update for one in expected.results]
    assert instances or any(Update.ACCEPTED in updates for updates in decided)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cuda_graph", "expected a CUDA device"), ("tensorrt", "expected (the package|a CUDA)")],
)
def test_a_gpu_engine_without_a_gpu_says_what_it_expected(
    weights: LoadedWeights, name: str, expected: str
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(EngineError, match=f"engine {name}: {expected}"):
        open_engine(EngineChoice(name), weights, shape_of(weights, 1))


@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_frames_prepared_ahead_in_another_thread_end_the_same(
    weights: LoadedWeights, engine: str, instances: bool, one_thread: None
) -> None:
    profile, ablation = load_profile("phantom"), Ablation(gamma=0.3, instances=instances)
    plain = Tracker(weights, profile, ablation, EngineChoice(engine))
    ahead = Tracker(weights, profile, ablation, EngineChoice(engine))
    frames = demo_frames(20, 6)
    with ThreadPoolExecutor(1) as pool:
        for image, prepared in zip(frames, pool.map(ahead.prepare, frames), strict=True):
            expected, result = plain.step(image), ahead.step(prepared)
            assert np.array_equal(result.class_map, expected.class_map)
            assert result.results == expected.results


@pytest.mark.parametrize("instances", [False, True])
def test_looking_then_learning_is_a_step(weights: LoadedWeights, instances: bool) -> None:
    profile, ablation = load_profile("phantom"), Ablation(gamma=0.3, instances=instances)
    whole, halves = Tracker(weights, profile, ablation), Tracker(weights, profile, ablation)
    learnt = []
    for image in demo_frames(20, 6):
        expected, answer = whole.step(image), halves.segment(image)
        assert {one.update for one in answer.results} == {Update.PENDING}
        assert np.array_equal(answer.class_map, expected.class_map)
        assert halves.update() == tuple(one.update for one in expected.results)
        assert set(halves.update()) == {Update.FROZEN}, "one frame teaches once"
        learnt += [one.update for one in expected.results]
    assert instances or Update.ACCEPTED in learnt or Update.ROLLED_BACK in learnt


def test_numpy_stays_on_one_thread_until_the_last_step_has_ended(weights: LoadedWeights) -> None:
    """A frame is prepared in one thread while another is answered; the first to end is not all."""

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    engine = weights.model.backbone
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        first, second = ExitStack(), ExitStack()
        first.enter_context(one_pool(engine))
        second.enter_context(one_pool(engine))
        first.close()
        between = threads()
        second.close()
        after = threads()
    assert between == {1}
    assert before == after == {2}

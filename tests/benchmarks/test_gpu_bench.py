"""`trocar bench gpu`, but for what asks a GPU: parity, floors, the table, the predictor."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import models.tracking.tracker as tracker_module
from benchmarks.environment import environment
from benchmarks.report import write_report
from benchmarks.speed import gpu, gpu_floor, parity
from benchmarks.speed.gpu import GpuConfig, gpu_table
from benchmarks.speed.peers import Predictor
from benchmarks.speed.subject import Subject
from benchmarks.speed.timing import StepTimer
from models.backbone.image_input import resize_image
from models.backbone.memory_bank import BankShape
from models.engines.interface import EngineChoice
from models.method.checkpoint import LoadedWeights
from models.method.profile import load_profile
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import UInt8Array
from tests.support.captured_steps import CapturedSteps, Unwrapped, demo_frames


def test_parity_says_how_far_an_engine_is_from_torch(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr(parity, "CLIPS", (22,))
    monkeypatch.setattr(parity, "FRAMES", 3)
    found = parity.parity(weights, "torch")
    assert list(found) == list(parity.WAYS)
    for way, one in found.items():
        assert (one["frames"], one["mean_iou"], one["same_decisions"]) == (3, 1.0, 1.0)
        assert (one["taught_frames"] > 0) == (way != "by the head alone")

    real, blank = Tracker.step, np.zeros(parity.SIZE, np.uint8)

    def blind(tracker: Tracker, image: UInt8Array) -> Any:
        seen = real(tracker, image)
        return replace(seen, class_map=blank) if tracker.engine.own_pictures else seen

    monkeypatch.setattr(Tracker, "step", blind)
    monkeypatch.setattr(
        tracker_module,
        "open_engine",
        lambda choice, *rest, **_: (
            rest[0].model.backbone if choice.name == "torch" else Unwrapped(*rest)
        ),
    )
    assert parity.parity(weights, "none")["by rows, as live"]["mean_iou"] == 0


def test_the_gpu_table_has_stages_floors_peers_and_parity(
    weights: LoadedWeights,
    captured_steps: None,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
    tmp_path: Path,
) -> None:
    """All of the command but what asks a GPU: the predictor's rounds and the two ceilings."""
    for name, value in (("FILLING", 3), ("WARM_UP", 1), ("STAGE_FRAMES", 2), ("PICTURES", 2)):
        monkeypatch.setattr(gpu, name, value)
    ablation = Ablation(gamma=0.0, instances=False)
    tracker = Tracker(weights, load_profile("phantom"), ablation, EngineChoice("cuda_graph"))
    run, frames = StepTimer(tracker), demo_frames(101, 2)
    numbers = gpu._engine_numbers(run, Subject(), weights, frames, GpuConfig(frames=2))
    assert isinstance(run.tracker.engine, CapturedSteps), "the steps themselves are not timed apart"
    assert numbers["step_ms"]["n"] == 2
    reached = gpu_floor.Ceilings(1e13, 1e12)
    shape = BankShape.of(4, load_profile("phantom").memory, weights.model.config.backbone)
    under = gpu_floor.floors(weights, shape, reached, numbers["stages"])
    assert under["encode_image"]["giga_operations"] > 1
    encoder = weights.model.backbone.sam.image_encoder
    held = sum(one.numel() for one in encoder.parameters()) * gpu_floor.HALF_BYTES / 1e6
    assert under["encode_image"]["megabytes"] > 0.9 * held
    for name, floor in under.items():
        numbers["stages"][name] |= {"floor": floor}
        assert 0 < floor["fraction_reached"] < 1
    content = {
        "sizes": {
            "256": {
                "engines": {"cuda_graph": numbers, "tensorrt": {"missing": "no tensorrt"}},
                "frame_ms": {"cuda_graph": [1.0], "eager": [6.0]},
                "missing_peers": {"compiled": "RuntimeError: overwritten"},
                "times_the_predictor": {"cuda_graph": {"eager": {"median": 6.0}}},
            }
        },
        "parity": {
            "cuda_graph": {"by rows": {"mean_iou": 0.99}},
            "tensorrt": {"missing": "no tensorrt"},
        },
    }
    written = content | {"kind": "gpu", "note": "", "settings": {}, "environment": environment()}
    (tmp_path / "gpu.json").write_text(json.dumps(written))
    page = write_report(tmp_path, tmp_path / "page").read_text()
    assert "| 256 px, cuda_graph: encode_image |" in page
    assert "eager 6.00" in page
    assert (tmp_path / "page" / "gpu-latency.png").is_file()
    said = gpu_table(content)
    for part in ("step", "while memories fill", "encode_image", "no tensorrt", "overwritten"):
        assert part in said
    assert "times as fast as the predictor, cuda_graph: eager 6.00" in said
    assert "parity, cuda_graph, by rows" in said


def test_the_compiled_predictor_is_the_packages_own_and_reads_nothing_overwritten(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    """Each part is compiled; an output of one may be overwritten as soon as another has run."""
    compiled: list[tuple[str, str]] = []
    alive: list[torch.Tensor] = []

    def overwriting(part: Callable[..., Any], *, mode: str, **_: Any) -> Callable[..., Any]:
        compiled.append((type(part.__self__).__name__, mode))  # type: ignore[attr-defined]

        def run(*inputs: Any, **named: Any) -> Any:
            for one in (*inputs, *named.values()):
                if isinstance(one, torch.Tensor):
                    assert torch.isfinite(one).all(), "it was overwritten before it was read"
            found = tree_map(lambda one: one.clone(), part(*inputs, **named))
            for old in alive:
                old.fill_(float("nan"))
            alive[:] = [one for one in tree_leaves(found) if one.is_floating_point()]
            return found

        return run

    monkeypatch.setattr(torch, "compile", overwriting)
    predictor = Predictor(weights, 2, compiled="reduce-overhead")
    assert predictor.frame_ms([resize_image(one, 256) for one in demo_frames(101, 9)]) > 0
    names = [name for name, _ in compiled]
    assert names == [
        "ImageEncoder", "MemoryEncoder", "MemoryAttention", "PromptEncoder", "MaskDecoder",
    ]  # fmt: skip
    assert {mode for _, mode in compiled} == {"reduce-overhead"}

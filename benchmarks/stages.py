"""`trocar bench stages`: what a step takes, stage by stage, engine beside engine.

Every frame goes through every engine in turn, so that what else the machine does falls on all of
them; ratios between engines are per frame. The sam2 package's own video predictor runs on the same
weights, size, number of objects and threads, in alternating runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from tqdm import tqdm

from benchmarks.environment import environment
from benchmarks.timing import TimedEngine, distribution
from models.architecture import build_sam2
from models.checkpoint import LoadedWeights, load_embedded
from models.engines.engine import EngineChoice
from models.phantom import DEMO_SEED, Procedure
from models.profile import Calibration, Profile, load_profile
from models.tracker import Parts, Tracker
from models.types import UInt8Array

WARM_UP = 20
PEER_FRAMES = 40


@dataclass(frozen=True)
class StagesConfig:
    """frames: measured, after warm-up; learning: every frame teaches (the worst case) or none"""

    engines: tuple[str, ...] = ("torch", "onnx")
    frames: int = 300
    size: tuple[int, int] = (480, 640)
    learning: bool = True
    peer: bool = True


def run_stages(config: StagesConfig, out: Path) -> int:
    """Measure, print one table, write the JSON."""
    weights = load_embedded()
    profile = _profile(learning=config.learning)
    runs = {name: _Run(weights, profile, name, config) for name in config.engines}
    frames = _frames(config)
    peer_fps: list[float] = []
    bar = tqdm(total=WARM_UP + config.frames, unit="frame", desc="stages")
    for number in range(WARM_UP + config.frames):
        for run in runs.values():
            run.step(frames[number % len(frames)], warm=number >= WARM_UP)
        bar.update()
    bar.close()
    if config.peer:
        peer_fps = [_peer_fps(weights, frames, len(profile.classes)) for _ in range(3)]
    result = _result(config, runs, peer_fps, len(profile.classes))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(_table(result))
    return 0


def _profile(*, learning: bool) -> Profile:
    """The demo's profile, with a confidence that always or never opens the gate."""
    profile = load_profile("phantom")
    rows = len(profile.classes)
    sure = Calibration(torch.full((rows,), 0.01), torch.full((rows,), 8.0 if learning else -8.0))
    anything = torch.full((rows,), float("inf"))
    start = replace(profile.start, tolerance=anything, surprise=anything)
    return replace(profile, calibration=sure, start=start, object_offset=50.0)


def _frames(config: StagesConfig) -> list[UInt8Array]:
    clip = Procedure(DEMO_SEED).clip(30, size=config.size)
    return [clip.render(number / 25).image_rgb for number in range(75)]


class _Run:
    """One engine's tracker and what it took."""

    def __init__(
        self, weights: LoadedWeights, profile: Profile, name: str, config: StagesConfig
    ) -> None:
        parts = Parts(online=config.learning)
        self.tracker = Tracker(weights, profile, parts, EngineChoice(name))
        self.engine = TimedEngine(self.tracker.engine)
        self.tracker.engine = self.engine
        self.look_ms: list[float] = []
        self.learn_ms: list[float] = []

    def step(self, image: UInt8Array, *, warm: bool) -> None:
        started = time.perf_counter()
        self.tracker.look(image)
        looked = time.perf_counter()
        self.tracker.learn()
        learnt = time.perf_counter()
        if not warm:
            self.engine.taken.clear()
            return
        self.look_ms.append((looked - started) * 1e3)
        self.learn_ms.append((learnt - looked) * 1e3)

    def numbers(self) -> dict[str, Any]:
        step = [a + b for a, b in zip(self.look_ms, self.learn_ms, strict=True)]
        return {
            "look_ms": distribution(self.look_ms),
            "learn_ms": distribution(self.learn_ms),
            "step_ms": distribution(step),
            "stages_ms": {name: distribution(taken) for name, taken in self.engine.taken.items()},
        }


def _peer_fps(weights: LoadedWeights, frames: list[UInt8Array], objects: int) -> float:
    """Frames a second of the sam2 package's own video predictor, after its first frame."""
    config = weights.model.config.backbone
    predictor: Any = build_sam2(config, SAM2VideoPredictor)
    predictor.load_state_dict(weights.model.backbone.sam.state_dict())
    predictor.eval()
    masks = Procedure(DEMO_SEED).clip(30, size=(256, 256)).render(0.0).instance_mask
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for number in range(PEER_FRAMES):
            small = cv2.resize(frames[number % len(frames)], (config.image_size,) * 2)
            cv2.imwrite(f"{folder}/{number:05d}.jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        state = predictor.init_state(folder)
        for number in range(objects):
            mask = masks == number % max(int(masks.max()), 1) + 1
            predictor.add_new_mask(state, 0, number, mask)
        moments = [time.perf_counter() for _ in predictor.propagate_in_video(state)]
    return float(1 / np.median(np.diff(moments[5:])))


def _result(
    config: StagesConfig, runs: dict[str, _Run], peer_fps: list[float], rows: int
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "what": "duration of a step, NANO at 256 px; every class teaches in every frame"
        if config.learning
        else "duration of a step, NANO at 256 px; no updates",
        "classes": rows,
        "picture": {"height": config.size[0], "width": config.size[1]},
        "environment": environment(),
        "engines": {name: run.numbers() for name, run in runs.items()},
    }
    if {"torch", "onnx"} <= set(runs):
        ratio = np.array(runs["torch"].look_ms) / np.array(runs["onnx"].look_ms)
        result["torch_over_onnx"] = {"look, median over frames": round(float(np.median(ratio)), 3)}
    if peer_fps:
        result["sam2_video_predictor_fps"] = [round(value, 3) for value in peer_fps]
        result["times_the_predictor"] = {
            name: round(1e3 / numbers["step_ms"]["p50"] / float(np.median(peer_fps)), 3)
            for name, numbers in result["engines"].items()
        }
    return result


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'ms':<26}{'p50':>8}{'p90':>8}{'p95':>8}{'p99':>8}{'max':>8}"]
    for name, numbers in result["engines"].items():
        stages = {f"  {stage}": taken for stage, taken in numbers["stages_ms"].items()}
        rows = {
            f"{name}: step": numbers["step_ms"],
            " look (masks are out)": numbers["look_ms"],
            " learn": numbers["learn_ms"],
            **stages,
        }
        for label, row in rows.items():
            values = "".join(f"{row[key]:8.1f}" for key in ("p50", "p90", "p95", "p99", "max"))
            lines.append(f"{label:<26}{values}")
    for name, times in result.get("times_the_predictor", {}).items():
        lines.append(f"{name}: {times:.1f} times the frame rate of sam2's own video predictor")
    return "\n".join(lines)

"""`trocar bench peers`: beside the sam2 package's own video predictor.

The same frames, weights, size, number of objects and threads, in rounds in which everybody runs in
turn, so that what else the machine does falls on all. The predictor does no few-shot learning and
needs a mask to begin with; we learn in every frame unless told not to. NANO runs both ways, by its
rows, as the predictor does, and by the instance head alone. The compiled variant needs a GPU.
"""

from __future__ import annotations

import contextlib
import io
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

from benchmarks.result_file import result, write_result
from benchmarks.speed.subject import Subject, pictures
from benchmarks.speed.timing import ratio
from models.backbone.architecture import build_sam2
from models.backbone.image_input import resize_image
from models.method.checkpoint import LoadedWeights
from models.phantom import DEMO_SEED, Procedure
from models.tracking.tracker import Tracker
from models.types import UInt8Array

BY_HEAD = ", by the head alone"
COMPILED_PARTS = (
    "image_encoder", "memory_encoder", "memory_attention", "sam_prompt_encoder", "sam_mask_decoder",
)  # fmt: skip
WARM_UP = 5  # frames at the start of each run that do not count: the predictor's memory fills


@dataclass(frozen=True)
class PeersConfig:
    """rounds: of all in turn; frames: of one run, the first WARM_UP not counted"""

    subject: Subject
    engines: tuple[str, ...] = ("torch", "onnx")
    rounds: int = 5
    frames: int = 40
    note: str = ""


def run_peers(config: PeersConfig, out: Path) -> int:
    """Measure, print one table, write the JSON."""
    content = measure_peers(config)
    write_result(content, out)
    print(peers_table(content))
    return 0


def measure_peers(config: PeersConfig) -> dict[str, Any]:
    """The result file's content; durations are medians of a run, one a round."""
    weights = config.subject.weights()
    side = config.subject.config.image_size
    frames = [resize_image(image, side) for image in pictures(count=config.frames)]
    ways = {"": config.subject}
    if config.subject.backbone == "nano" and not config.subject.instances:
        ways[BY_HEAD] = replace(config.subject, instances=True)
    trackers = {
        f"{name}{label}": subject.tracker(name, weights)
        for label, subject in ways.items()
        for name in config.engines
    }
    predictor = Predictor(weights, config.subject.classes)
    taken: dict[str, list[float]] = {name: [] for name in ("predictor", *trackers)}
    for _ in tqdm(range(config.rounds), unit="round", desc="peers"):
        taken["predictor"].append(predictor.frame_ms(frames))
        for name, tracker in trackers.items():
            taken[name].append(_frame_ms(tracker, frames))
    return result(
        "peers",
        config.subject.settings() | {"rounds": config.rounds, "frames": config.frames},
        config.note,
        frame_ms={name: [round(value, 3) for value in each] for name, each in taken.items()},
        times_the_predictor={name: ratio(taken[name], taken["predictor"]) for name in trackers},
    )


def _frame_ms(tracker: Tracker, frames: list[UInt8Array]) -> float:
    """Median duration of a step."""
    tracker.reset()
    return float(np.median([tracker.step(image).step_ms for image in frames][WARM_UP:]))


class Predictor:
    """SAM2VideoPredictor on the same weights."""

    def __init__(
        self,
        weights: LoadedWeights,
        objects: int,
        *,
        device: str = "cpu",
        compiled: str | None = None,
    ) -> None:
        """On a GPU it runs in bf16. compiled: see `_compiled_predictor`; None: it runs eagerly"""
        config = weights.model.config.backbone
        kind = _compiled_predictor(compiled) if compiled else SAM2VideoPredictor
        self._side, self._objects, self._device = config.image_size, objects, device
        self._predictor: Any = build_sam2(config, kind)
        self._predictor.load_state_dict(weights.model.backbone.sam.state_dict())
        self._predictor.eval().to(device)

    def frame_ms(self, frames: list[UInt8Array]) -> float:
        """Median time to the next frame's masks; decoding, done beforehand, is not in it."""
        shown = Procedure(DEMO_SEED).clip(30, size=(self._side,) * 2).render(0.0).instance_mask
        half = torch.autocast("cuda", torch.bfloat16, enabled=self._device == "cuda")
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), half:
            for number, image in enumerate(frames):
                picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                cv2.imwrite(f"{folder}/{number:05d}.jpg", picture)
            with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
                state = self._predictor.init_state(folder)
                for number in range(self._objects):
                    mask = shown == number % max(int(shown.max()), 1) + 1
                    self._predictor.add_new_mask(state, 0, number, mask)
                tracking = self._predictor.propagate_in_video(state)
                moments = [self._moment() for _ in tracking]
        return float(np.median(np.diff(moments)[WARM_UP:])) * 1e3

    def _moment(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _compiled_predictor(mode: str) -> Any:
    """Its variant that compiles every part of a step, the image encoder too (vos_optimized).

    mode: of torch.compile; the package's own is max-autotune, which takes many minutes
    One copy is added: since torch 2.6 the output of its memory attention is overwritten before the
    mask decoder reads it (facebookresearch/sam2 issue 501).
    """
    from sam2.sam2_video_predictor import SAM2VideoPredictorVOS

    class Compiled(SAM2VideoPredictorVOS):  # type: ignore[misc]
        def _compile_all_components(self) -> None:
            for name in COMPILED_PARTS:
                part, varies = getattr(self, name), name == "memory_attention"
                part.forward = torch.compile(
                    part.forward, mode=mode, fullgraph=True, dynamic=varies
                )
            attend = self.memory_attention.forward
            self.memory_attention.forward = lambda *a, **keys: attend(*a, **keys).clone()

    return Compiled


def peers_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{'':<36}{'ms a frame':>12}{'times as fast':>24}"]
    for name, each in content["frame_ms"].items():
        label = "sam2's own video predictor" if name == "predictor" else f"trocar, {name}"
        times = content["times_the_predictor"].get(name)
        said = f"{times['median']:.2f} ({times['p25']:.2f} to {times['p75']:.2f})" if times else ""
        lines.append(f"{label:<36}{np.median(each):>12.1f}{said:>24}")
    return "\n".join(lines)

"""Does an engine see and learn what torch does? 200 frames of the phantom, with updates on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.quality.metrics import dsc
from models.engines.interface import EngineChoice
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, Profile, load_profile
from models.phantom import DEMO_SEED, Procedure
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import Update

CLIPS, FRAMES = (22, 100, 101, 102), 50  # of the demo's procedure; of each, ten a second
SIZE = (240, 320)
# The demo's profile has these where pixels are named, by its fit.
BY_PIXELS = Calibration(
    torch.tensor([0.948, 0.225, 0.728, 0.409]), torch.tensor([0.744, 0.446, 0.829, 1.025])
)
WAYS = {
    "by rows, as published": Ablation(gamma=0.5, instances=False),
    "by rows, as live": replace(Ablation.for_video(gamma=0.5), instances=False),
    "by the head alone": Ablation.for_video(gamma=0.5),
}


@dataclass(frozen=True)
class _Frame:
    """agreement: IoU of the two maps; dsc: of the oracle and the other, over the classes there"""

    agreement: float
    same: bool
    taught: bool
    dsc: tuple[float, float]


def parity(weights: LoadedWeights, engine: str) -> dict[str, Any]:
    """Of NANO, for each of WAYS. Raises EngineError."""
    return {
        way: measure_parity(weights, ablation, EngineChoice(engine), way)
        for way, ablation in WAYS.items()
    }


def measure_parity(
    weights: LoadedWeights, ablation: Ablation, choice: EngineChoice, way: str = ""
) -> dict[str, Any]:
    """Frames, those with a lesson or a stage of one, agreement. way: what progress is shown for"""
    profile = load_profile("phantom")
    if not ablation.instances:
        profile = replace(profile, calibration=BY_PIXELS)
    oracle = Tracker(weights, profile, ablation)
    other = Tracker(weights, profile, ablation, choice)
    frames = []
    for clip in tqdm(CLIPS, desc=f"parity {way}", unit="clip"):
        oracle.reset()
        other.reset()
        frames += _clip(oracle, other, profile, clip)
    scored = np.array([one.dsc for one in frames])
    return {
        "frames": len(frames),
        "taught_frames": sum(one.taught for one in frames),
        "mean_iou": float(np.mean([one.agreement for one in frames])),
        "same_decisions": float(np.mean([one.same for one in frames])),
        "dsc": {
            name: round(float(value), 4)
            for name, value in zip(("torch", choice.name), np.nanmean(scored, axis=0), strict=True)
        },
    }


def _clip(oracle: Tracker, other: Tracker, profile: Profile, clip: int) -> list[_Frame]:
    scene, found = Procedure(DEMO_SEED).clip(clip, size=SIZE), []
    for number in range(FRAMES):
        frame = scene.render(number / 10)
        first, second = oracle.step(frame.image_rgb), other.step(frame.image_rgb)
        maps = (first.class_map, second.class_map)
        drawn = (maps[0] > 0) | (maps[1] > 0)
        decided, others = ([one.update for one in each.results] for each in (first, second))
        ids = [one.class_id for one in profile.classes]
        there = [one for one in ids if (frame.class_mask == one).any()]
        scores = [
            float(np.mean([dsc(each == one, frame.class_mask == one) for one in there]))
            if there
            else float("nan")
            for each in maps
        ]
        found.append(
            _Frame(
                float((maps[0] == maps[1])[drawn].mean()) if drawn.any() else 1.0,
                decided == others,
                Update.ACCEPTED in decided or Update.PENDING in decided,
                (scores[0], scores[1]),
            )
        )
    return found

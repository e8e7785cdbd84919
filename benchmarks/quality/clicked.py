"""Clicks on unseen phantoms: one at random on an instrument, then on the largest error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.quality.metrics import Spread, iou
from benchmarks.quality.naming_rate import visible_instances
from models.instances.clicks import next_click
from models.method.checkpoint import load_embedded
from models.method.prompts import segment_clicks
from models.phantom import Procedure
from models.training.click_training import random_click

FIRST_SEED = 35_000
MOMENTS_S = (1.0, 3.0, 5.0)
CLICKS = 3
SIZE = (256, 256)


@dataclass(frozen=True)
class ClickScores:
    """Mean IoU of a clip's visible instruments after one click and after CLICKS; NaN if none."""

    first: float
    last: float


def clicked_in_clip(number: int) -> ClickScores:
    """Three frames of one unseen procedure, every visible instrument clicked on in turn."""
    weights, rng = load_embedded(), np.random.default_rng([FIRST_SEED, number])
    clip = Procedure(FIRST_SEED + number).clip(0, size=SIZE)
    first, last = [], []
    for t in MOMENTS_S:
        frame = clip.render(t)
        for instance in visible_instances(frame):
            truth = frame.instance_mask == instance
            clicks = [random_click(truth, rng)]
            scores = []
            for _ in range(CLICKS):
                found = segment_clicks(weights, frame.image_rgb, clicks)
                scores.append(iou(found, truth))
                correction = next_click(found, truth)
                clicks += [] if correction is None else [correction]
            first.append(scores[0])
            last.append(scores[-1])
    return ClickScores(*(float(np.mean(s)) if s else float("nan") for s in (first, last)))


def click_summary(scores: list[ClickScores]) -> dict[str, Any]:
    """Mean and spread over clips."""
    return {
        "clips": len(scores),
        "iou_after_one": asdict(Spread.of([one.first for one in scores])),
        f"iou_after_{CLICKS}": asdict(Spread.of([one.last for one in scores])),
    }

"""The method and what is left of it with parts off, run over annotated sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality.metrics import dsc, hd95, iou
from models.fitting.annotated import Pair
from models.tracking.ablation import Ablation, Fusion
from models.tracking.tracker import Tracker
from models.types import IGNORE_ID, Segmentation, UInt8Array, Update

VARIANTS: dict[str, Ablation] = {
    "full": Ablation(),
    "no update": Ablation(online=False),
    "pixels named": Ablation(instances=False, online=False),
    "no naming": Ablation(naming=False, online=False),
    "no fusion": Ablation(fusion=Fusion.AVERAGE),
    "no learner": Ablation(learner=False),
    "mapping alone": Ablation(memory=False, online=False),
    "support memory alone": Ablation(learner=False, online=False),
}
FOREGROUND = 0  # key of the union of all classes in a tally
ALARM_SHARE = 0.005  # of the frame: more than this of an absent class is a false alarm


@dataclass
class Tally:
    """Scores by class id (0 is any class); frame by frame, where the class is visible.

    alarms: by class id, 1 or 0 for each frame in which the class is absent
    gated, rows: (class, frame) pairs that taught, and all of them; rolled_back among the gated
    teaching, frames: frames that taught any class, and all of them
    confidence, reached: of every class that was drawn, its confidence and its DSC (0 if absent)
    named: 1 or 0 for each visible instrument of each frame, where the truth knows instruments
    """

    dsc: dict[int, list[float]] = field(default_factory=dict)
    iou: dict[int, list[float]] = field(default_factory=dict)
    hd95: dict[int, list[float]] = field(default_factory=dict)
    alarms: dict[int, list[float]] = field(default_factory=dict)
    gated: int = 0
    rolled_back: int = 0
    rows: int = 0
    teaching: int = 0
    frames: int = 0
    confidence: list[float] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    named: list[float] = field(default_factory=list)

    def add(self, class_id: int, found: UInt8Array, truth: UInt8Array) -> None:
        """Score one class in one frame. found, truth: (H, W) bool"""
        here, there = np.asarray(found, bool), np.asarray(truth, bool)
        if not there.any():
            self.alarms.setdefault(class_id, []).append(float(here.mean() > ALARM_SHARE))
            return
        self.dsc.setdefault(class_id, []).append(dsc(here, there))
        self.iou.setdefault(class_id, []).append(iou(here, there))
        self.hd95.setdefault(class_id, []).append(hd95(here, there))

    def class_dsc(self) -> float:
        """Mean over classes of the mean DSC where visible."""
        means = [float(np.mean(v)) for key, v in self.dsc.items() if key != FOREGROUND]
        return float(np.mean(means)) if means else float("nan")

    def foreground_dsc(self) -> float:
        """Mean DSC of any class where one is visible."""
        values = self.dsc.get(FOREGROUND, [])
        return float(np.mean(values)) if values else float("nan")

    def alarm_share(self) -> float:
        """Share of (absent class, frame) pairs drawn all the same."""
        values = [v for key, each in self.alarms.items() if key != FOREGROUND for v in each]
        return float(np.mean(values)) if values else float("nan")

    def named_share(self) -> float:
        """Share of visible instruments, frame by frame, that got their right name."""
        return float(np.mean(self.named)) if self.named else float("nan")

    def teaching_share(self) -> float:
        """Share of frames that taught at least one class."""
        return self.teaching / self.frames if self.frames else float("nan")

    def gate_share(self) -> float:
        """Share of (class, frame) pairs that updated."""
        return self.gated / self.rows if self.rows else float("nan")


def run_sequence(tracker: Tracker, frames: Iterable[Pair], tally: Tally) -> None:
    """Segment a sequence from a fresh state and score every frame.

    frames: (image, class map) in order; ignored pixels are left out of the score
    """
    tracker.reset()
    for image, truth in frames:
        score_frame(tracker.step(image), truth, tally)


def score_frame(result: Segmentation, truth: UInt8Array, tally: Tally) -> None:
    """Score one answer. truth: (H, W) class map"""
    counted = truth != IGNORE_ID
    tally.add(FOREGROUND, (result.class_map > 0) & counted, (truth > 0) & counted)
    for one in result.results:
        found = (result.class_map == one.class_id) & counted
        own = truth == one.class_id
        tally.add(one.class_id, found, own)
        if found.any():
            tally.confidence.append(one.confidence)
            tally.reached.append(dsc(found, own))
        tally.rows += 1
        tally.gated += one.update is Update.ACCEPTED
        tally.rolled_back += one.update is Update.ROLLED_BACK
    tally.frames += 1
    tally.teaching += any(one.update is Update.ACCEPTED for one in result.results)

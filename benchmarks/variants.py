"""The method and what is left of it with parts off, run over annotated sequences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.metrics import dsc, hd95, iou
from models.tracker import Fusion, Parts, Tracker
from models.types import IGNORE_ID, UInt8Array, Update

VARIANTS: dict[str, Parts] = {
    "full": Parts(),
    "no update": Parts(online=False),
    "no naming": Parts(naming=False, online=False),
    "no fusion": Parts(fusion=Fusion.AVERAGE),
    "no learner": Parts(learner=False),
    "mapping alone": Parts(memory=False, online=False),
    "support memory alone": Parts(learner=False, online=False),
}
FOREGROUND = 0  # key of the union of all classes in a tally
ALARM_SHARE = 0.005  # of the frame: more than this of an absent class is a false alarm

Pair = tuple[UInt8Array, UInt8Array]


@dataclass
class Tally:
    """Scores by class id (0 is any class); frame by frame, where the class is visible.

    alarms: by class id, 1 or 0 for each frame in which the class is absent
    gated, rows: (class, frame) pairs that taught, and all of them; rolled_back among the gated
    """

    dsc: dict[int, list[float]] = field(default_factory=dict)
    iou: dict[int, list[float]] = field(default_factory=dict)
    hd95: dict[int, list[float]] = field(default_factory=dict)
    alarms: dict[int, list[float]] = field(default_factory=dict)
    gated: int = 0
    rolled_back: int = 0
    rows: int = 0

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

    def gate_share(self) -> float:
        """Share of (class, frame) pairs that updated."""
        return self.gated / self.rows if self.rows else float("nan")


def run_sequence(tracker: Tracker, frames: Iterable[Pair], tally: Tally) -> None:
    """Segment a sequence from a fresh state and score every frame.

    frames: (image, class map) in order; ignored pixels are left out of the score
    """
    tracker.reset()
    for image, truth in frames:
        result = tracker.step(image)
        counted = truth != IGNORE_ID
        tally.add(FOREGROUND, (result.class_map > 0) & counted, (truth > 0) & counted)
        for spec in tracker.classes:
            found = (result.class_map == spec.class_id) & counted
            tally.add(spec.class_id, found, truth == spec.class_id)
        for one in result.results:
            tally.rows += 1
            tally.gated += one.update is Update.ACCEPTED
            tally.rolled_back += one.update is Update.ROLLED_BACK

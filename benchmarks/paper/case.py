"""One test sequence segmented by one method: how it is scored and kept on the disk.

Videos are scored frame by frame, volumes (whose spacing is known) as a whole; `EmptyRule.SKIP`
holds: what is neither there nor drawn has no value, what is drawn where nothing is counts 0.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.comparators.interface import Predictor, PromptedPredictor
from benchmarks.comparators.ofl_sam2 import TrackerPredictor
from benchmarks.quality.case_scores import legacy_score_classes, score_classes
from benchmarks.quality.metrics import METRICS, EmptyRule
from benchmarks.quality.surface_distance import Mask
from benchmarks.speed.variants import ALARM_SHARE
from models.datasets.sequences import AnnotatedSequence
from models.types import BACKGROUND_ID, IGNORE_ID, UNNAMED_ID, ClassSpec, UInt8Array, Update

Values = list[float | None]
Unit = tuple[UInt8Array, UInt8Array]  # found and truth, of a frame or a volume


@dataclass(frozen=True)
class ClassScores:
    """One class over a case's units (frames, or the one volume); None: no value there.

    metrics: name -> one value a unit; visible, drawn: one a unit; legacy: DSC and HD95 of a volume
    """

    metrics: dict[str, Values]
    visible: list[bool]
    drawn: list[bool]
    legacy: dict[str, float]


@dataclass(frozen=True)
class CaseResult:
    """classes: by class id; any_dsc: of all classes together, one value a unit

    found, named: pixels of instruments that were found as some class, and as the right one
    updates: class-frames by what the learner did; methods without one have none
    """

    case: str
    group: str
    classes: dict[int, ClassScores]
    any_dsc: Values
    found: int
    named: int
    updates: dict[str, int]


@dataclass(frozen=True)
class Segmented:
    """A case's annotated frames, (H, W) class maps each, and what the learner did."""

    found: tuple[UInt8Array, ...]
    truth: tuple[UInt8Array, ...]
    updates: dict[str, int]


def segment_case(predictor: Predictor, sequence: AnnotatedSequence) -> Segmented:
    """Every frame in order; a prompted predictor is given the first one that is annotated."""
    predictor.start()
    found, truth = [], []
    waiting = isinstance(predictor, PromptedPredictor)
    for frame in sequence.frames:
        image = frame.read_image()
        mask = frame.read_mask() if frame.read_mask is not None else None
        if waiting:
            if mask is not None and isinstance(predictor, PromptedPredictor):
                predictor.prompt(image, mask)
                waiting = False
            continue
        answer = predictor.step(image)
        if mask is not None:
            found.append(answer)
            truth.append(mask)
    updates: dict[str, int] = {}
    if isinstance(predictor, TrackerPredictor):
        updates = {str(kind): predictor.updates[kind] for kind in Update}
    return Segmented(tuple(found), tuple(truth), updates)


def score_case(
    sequence: AnnotatedSequence, classes: Sequence[ClassSpec], seen: Segmented
) -> CaseResult:
    """Scores of a segmented case."""
    pairs = list(zip(seen.found, seen.truth, strict=True))
    volume = sequence.spacing_mm is not None and len(pairs) > 0
    units = [(np.stack(seen.found), np.stack(seen.truth))] if volume else pairs
    by_class = _class_scores(units, [s.class_id for s in classes], sequence.spacing_mm)
    if volume:
        for class_id, legacy in legacy_score_classes(*units[0], list(by_class)).items():
            by_class[class_id].legacy.update(dsc=legacy.dsc, hd95=legacy.hd95)
    together = [_overlap(found > 0, truth > 0, truth != IGNORE_ID) for found, truth in units]
    hits = [_hits(found, truth) for found, truth in units]
    found, named = sum(int(hit.size) for hit in hits), sum(int(hit.sum()) for hit in hits)
    return CaseResult(sequence.name, sequence.group, by_class, together, found, named, seen.updates)


def _class_scores(
    units: Sequence[Unit], ids: Sequence[int], spacing_mm: tuple[float, ...] | None
) -> dict[int, ClassScores]:
    by_class = {one: ClassScores({m: [] for m in METRICS}, [], [], {}) for one in ids}
    for found, truth in units:
        scores = score_classes(found, truth, ids, spacing=spacing_mm, empty=EmptyRule.SKIP)
        for class_id, one in scores.items():
            own = by_class[class_id]
            for metric in METRICS:
                own.metrics[metric].append(_known(getattr(one, metric)))
            drawn = (found == class_id) & (truth != IGNORE_ID)
            own.visible.append(bool((truth == class_id).any()))
            own.drawn.append(bool(drawn.mean() > ALARM_SHARE))
    return by_class


def _hits(found: UInt8Array, truth: UInt8Array) -> Mask:
    """Is the name right? Of each pixel of a class that was found as some class."""
    shown = (truth != IGNORE_ID) & (truth != BACKGROUND_ID)
    shown &= (found != BACKGROUND_ID) & (found != UNNAMED_ID)
    return np.asarray(found[shown] == truth[shown])


def _overlap(found: Mask, truth: Mask, counted: Mask) -> float | None:
    found, truth = found & counted, truth & counted
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def mean_of(values: Sequence[float | None]) -> float:
    """Of those there are; NaN where there is none."""
    kept = [value for value in values if value is not None]
    return float(np.mean(kept)) if kept else math.nan


@dataclass(frozen=True)
class CaseFile:
    """Where a case's result is kept. Written whole or not at all, so a killed run can go on."""

    path: Path

    @classmethod
    def of(cls, out: Path, seed: int, method: str, case: str) -> CaseFile:
        """One file a seed, method and case."""
        return cls(out / "cases" / f"seed-{seed}" / method / f"{plain_name(case)}.json")

    @property
    def picture(self) -> Path:
        """Class map of the middle frame, beside the scores."""
        return self.path.with_suffix(".png")

    def write(self, result: CaseResult, picture: UInt8Array | None) -> None:
        """The picture first: where there are scores there is everything."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if picture is not None:
            encoded = cv2.imencode(".png", picture)[1]
            write_whole(self.picture, encoded.tobytes())
        write_whole(self.path, (json.dumps(asdict(result)) + "\n").encode())

    def read(self) -> CaseResult | None:
        """None where there is nothing yet."""
        if not self.path.is_file():
            return None
        content = json.loads(self.path.read_text())
        classes = {int(key): ClassScores(**value) for key, value in content.pop("classes").items()}
        return CaseResult(classes=classes, **content)


def plain_name(case: str) -> str:
    """A case's name as a file's."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in case)


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file at once, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

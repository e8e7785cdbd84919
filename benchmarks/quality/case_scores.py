"""Scores per class and per case (a volume, a frame, a clip), and what they come to together."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.quality.metrics import METRICS, EmptyRule, Scores, Spread, legacy_score, score
from models.types import IGNORE_ID

ClassMap = npt.NDArray[np.integer]


def score_classes(
    found: ClassMap,
    truth: ClassMap,
    class_ids: Sequence[int],
    *,
    spacing: Sequence[float] | None = None,
    empty: EmptyRule = EmptyRule.WORST,
) -> dict[int, Scores]:
    """Every class of one case. found, truth: class maps, (H, W) or (D, H, W), 0 background.

    Pixels that the truth ignores count for no class. Raises ValueError as `score` does.
    """
    counted = _counted(found, truth)
    return {
        one: score((found == one) & counted, truth == one, spacing=spacing, empty=empty)
        for one in class_ids
    }


def legacy_score_classes(
    found: ClassMap, truth: ClassMap, class_ids: Sequence[int]
) -> dict[int, Scores]:
    """The same by `legacy_score`."""
    counted = _counted(found, truth)
    return {one: legacy_score((found == one) & counted, truth == one) for one in class_ids}


def _counted(found: ClassMap, truth: ClassMap) -> npt.NDArray[np.bool_]:
    if found.shape != truth.shape:
        raise ValueError(f"expected class maps of one shape, got {found.shape} and {truth.shape}")
    return np.asarray(truth != IGNORE_ID)


@dataclass(frozen=True)
class CaseScores:
    """One case. by_class: class id -> its scores"""

    case: str
    by_class: Mapping[int, Scores]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of many cases. The classes of a case that lacks one count in the other cases only."""

    cases: tuple[CaseScores, ...]

    @property
    def class_ids(self) -> tuple[int, ...]:
        """Every class that a case has scores of, ascending."""
        return tuple(sorted({one for case in self.cases for one in case.by_class}))

    def over_cases(self, class_id: int, metric: str) -> Spread:
        """A class's metric over the cases in which it has a value. metric: one of METRICS"""
        return Spread.of(
            [
                getattr(case.by_class[class_id], metric)
                for case in self.cases
                if class_id in case.by_class
            ]
        )

    def mean(self, metric: str) -> float:
        """Mean over classes of their means over cases: what published tables call the average."""
        return Spread.of([self.over_cases(one, metric).mean for one in self.class_ids]).mean

    def write_csv(self, path: Path, names: Mapping[int, str] | None = None) -> None:
        """One line a case and class; an empty cell is a metric without a value."""
        part = path.with_name(path.name + ".part")
        with part.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["case", "class", *METRICS])
            for case in self.cases:
                for class_id, scores in case.by_class.items():
                    values = ["" if v != v else f"{v:.6g}" for v in asdict(scores).values()]
                    lines.writerow([case.case, (names or {}).get(class_id, class_id), *values])
        part.replace(path)

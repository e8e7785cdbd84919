"""What the cases of a run come to: per seed and method, then mean and spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.paper.case import CaseResult, mean_of
from benchmarks.paper.run import SeedResult
from benchmarks.quality.metrics import METRICS, Spread


@dataclass(frozen=True)
class SeedScore:
    """One method on one seed.

    dsc: mean over classes of means over cases; an absent class that is drawn counts 0
    visible_dsc: the same where the class is visible; hd95: pixels or mm, where both are there
    any_dsc: of all classes together; named: share of found instrument pixels with the right name
    alarms: share of absent class-frames drawn; taught: share of class-frames that were learnt from
    legacy_dsc: volumes only, by the lineage's rules
    """

    dsc: float
    visible_dsc: float
    hd95: float
    any_dsc: float
    named: float
    alarms: float
    taught: float
    legacy_dsc: float
    by_class: dict[int, float]


FIGURES = ("dsc", "visible_dsc", "hd95", "any_dsc", "named", "alarms", "taught", "legacy_dsc")


def seed_score(cases: Sequence[CaseResult]) -> SeedScore:
    """cases: of one method on one seed"""
    ids = sorted({one for case in cases for one in case.classes})

    def over_classes(value: Callable[[CaseResult, int], float]) -> dict[int, float]:
        return {one: mean_of([_none(value(case, one)) for case in cases]) for one in ids}

    by_class = over_classes(lambda case, one: mean_of(case.classes[one].metrics["dsc"]))
    found, named = sum(c.found for c in cases), sum(c.named for c in cases)
    taught, rows = _taught(cases)
    return SeedScore(
        dsc=_mean(by_class),
        visible_dsc=_mean(over_classes(_visible_dsc)),
        hd95=_mean(over_classes(lambda c, one: mean_of(c.classes[one].metrics["hd95"]))),
        any_dsc=mean_of([_none(mean_of(case.any_dsc)) for case in cases]),
        named=named / found if found else math.nan,
        alarms=_alarms(cases),
        taught=taught / rows if rows else math.nan,
        legacy_dsc=_mean(over_classes(lambda c, one: c.classes[one].legacy.get("dsc", math.nan))),
        by_class=by_class,
    )


def _visible_dsc(case: CaseResult, class_id: int) -> float:
    own = case.classes[class_id]
    pairs = zip(own.metrics["dsc"], own.visible, strict=True)
    return mean_of([value for value, visible in pairs if visible])


def _alarms(cases: Sequence[CaseResult]) -> float:
    drawn = [
        float(drawn)
        for case in cases
        for one in case.classes.values()
        for drawn, visible in zip(one.drawn, one.visible, strict=True)
        if not visible
    ]
    return float(np.mean(drawn)) if drawn else math.nan


def _taught(cases: Sequence[CaseResult]) -> tuple[int, int]:
    taught = sum(case.updates.get("accepted", 0) for case in cases)
    return taught, sum(sum(case.updates.values()) for case in cases)


def _mean(by_class: dict[int, float]) -> float:
    return mean_of([_none(value) for value in by_class.values()])


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass(frozen=True)
class MethodSummary:
    """One method over all seeds. won: seeds in which the whole method's DSC is higher than its"""

    seeds: tuple[SeedScore, ...]

    def spread(self, figure: str) -> Spread:
        """Mean and standard deviation over seeds. figure: one of FIGURES"""
        return Spread.of([getattr(one, figure) for one in self.seeds])

    def json(self) -> dict[str, Any]:
        """For the result file; figures without a value are None."""
        over_seeds = {one: _plain(asdict(self.spread(one))) for one in FIGURES}
        each = [_plain(asdict(seed)) for seed in self.seeds]
        return {"over_seeds": over_seeds, "seeds": each}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def summarize(results: Sequence[SeedResult]) -> dict[str, MethodSummary]:
    """By method, in the order in which they ran."""
    names = list(results[0].cases)
    return {
        name: MethodSummary(tuple(seed_score(one.cases[name]) for one in results)) for name in names
    }


@dataclass(frozen=True)
class Gap:
    """The whole method less another, seed by seed. won: seeds in which the whole one is ahead"""

    mean: float
    std: float
    won: int
    seeds: int

    @classmethod
    def between(cls, full: MethodSummary, other: MethodSummary, figure: str = "dsc") -> Gap:
        """figure: one of FIGURES"""
        pairs = zip(full.seeds, other.seeds, strict=True)
        apart = [getattr(one, figure) - getattr(two, figure) for one, two in pairs]
        spread = Spread.of(apart)
        return cls(spread.mean, spread.std, sum(value > 0 for value in apart), len(apart))


def case_rows(results: Sequence[SeedResult]) -> list[list[str]]:
    """One line a seed, method, case and class, with a head; an empty cell has no value."""
    head = ["seed", "method", "case", "group", "class", "visible_dsc", *METRICS]
    rows = [head]
    for one in results:
        names = {spec.class_id: spec.name for spec in one.split.classes}
        for method, cases in one.cases.items():
            for case in cases:
                for class_id, scores in case.classes.items():
                    values = [_visible_dsc(case, class_id)]
                    values += [mean_of(scores.metrics[metric]) for metric in METRICS]
                    cells = ["" if math.isnan(value) else f"{value:.5f}" for value in values]
                    rows.append(
                        [str(one.seed), method, case.case, case.group, names[class_id], *cells]
                    )
    return rows

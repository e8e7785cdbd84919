"""The report of a run: the table beside the paper's, where the whole method loses, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper.case import write_whole
from benchmarks.paper.methods import ABLATIONS, EVERYTHING, FULL, METHODS
from benchmarks.paper.published import published
from benchmarks.paper.run import SeedResult
from benchmarks.paper.setting import OPEN_POINTS, PaperConfig
from benchmarks.paper.summary import Gap, MethodSummary, case_rows
from benchmarks.quality.metrics import Spread
from models.datasets.sequences import AnnotatedSequence

FEW_CASES = 20  # tests with fewer cases in all, or with one seed, carry a warning
NOTICEABLE = 0.02  # difference of a share that is worth a word
EQUAL = 0.0005  # differences in mean DSC below this are none


def write_cases(results: Sequence[SeedResult], path: Path) -> None:
    """Per-case CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(case_rows(results))
    write_whole(path, text.getvalue().encode())


def report(
    config: PaperConfig, results: Sequence[SeedResult], summary: dict[str, MethodSummary]
) -> str:
    """One page of Markdown."""
    parts = [
        f"# {config.dataset}, {config.setting} annotated, backbone {config.backbone}",
        *warnings(config, results),
        _what_was_run(results),
        *_methods_table(config, summary),
        *_ablations_table(summary),
        "## Where the whole method loses, and why as far as measured",
        *_losses(config, summary),
        *_classes_table(results, summary),
        "## What the paper leaves open, and what was done",
        *_open_points(),
    ]
    return "\n\n".join(parts) + "\n"


def warnings(config: PaperConfig, results: Sequence[SeedResult]) -> list[str]:
    """What a reader must know before any figure."""
    said = []
    cases = sum(len(one.split.test) for one in results)
    if cases < FEW_CASES or len(results) < 2:
        said.append(
            f"> **Far too few for a claim**: {cases} test cases, {len(results)} seed(s). "
            "The commands ran end to end; no conclusion may be drawn from these figures."
        )
    if any(_same_sequence(one) for one in results):
        said.append("> Fit and test are parts of one and the same sequence.")
    if config.effort != 1:
        said.append(f"> Trained methods had {config.effort:g} of their steps: not a comparison.")
    hidden = sorted({spec.name for one in results for spec in one.split.hidden})
    if hidden:
        said.append(
            f"> Never shown by some seed's annotated frames, and not scored there: "
            f"{', '.join(hidden)}."
        )
    return said


def _same_sequence(one: SeedResult) -> bool:
    return bool(_names(one.split.fit) & _names(one.split.test))


def _names(sequences: Sequence[AnnotatedSequence]) -> set[str]:
    return {one.name for one in sequences}


def _what_was_run(results: Sequence[SeedResult]) -> str:
    lines = [
        f"seed {one.seed}: fitted on {len(one.split.shots.pairs)} frames of {len(one.split.fit)} "
        f"sequences ({len({s.group for s in one.split.fit})} groups), {len(one.split.unused)} "
        f"others of these groups left out, {len(one.split.test)} sequences "
        f"({len({s.group for s in one.split.test})} groups) tested"
        for one in results
    ]
    return "- " + "\n- ".join(lines)


def _methods_table(config: PaperConfig, summary: dict[str, MethodSummary]) -> list[str]:
    known = published(config.dataset, str(config.setting))
    note = (
        "The paper's column holds the only figures of it that are known to us."
        if known
        else "The paper's figures for this data set and setting are not known to us: its tables "
        "could not be read."
    )
    head = (
        "| method | DSC | where visible | HD95 | any class | right name | absent drawn "
        "| ahead of it by | paper |\n|---|---|---|---|---|---|---|---|---|"
    )
    volumes = summary[FULL].spread("legacy_dsc").count > 0
    if volumes:
        head = head.replace(" paper |", " lineage's DSC | paper |") + "---|"
    rows = [
        _row(name, summary, known.get(name), volumes=volumes) for name in METHODS if name in summary
    ]
    prompted = [EVERYTHING[name].title for name in summary if EVERYTHING[name].prompted]
    said = [f"{', '.join(prompted)}: sees a test label that no other method sees; its first "
            "frames are not scored."] if prompted else []  # fmt: skip
    legend = (
        "Mean ± standard deviation over seeds. DSC: an absent class that is drawn counts 0. Right "
        "name: of the class pixels found as some class. Absent drawn: of the class-frames in which "
        "the class is not there. Ahead of it by: DSC of the whole method less this one's, and the "
        "seeds in which it is higher."
    )
    return ["## Methods", f"{head}\n" + "\n".join(rows), legend, *said, note]


def _row(
    name: str, summary: dict[str, MethodSummary], known: float | None, *, volumes: bool
) -> str:
    own = summary[name]
    cells = [
        f"**{EVERYTHING[name].title}**" if name == FULL else EVERYTHING[name].title,
        *(shown(own.spread(one)) for one in ("dsc", "visible_dsc")),
        shown(own.spread("hd95"), 1),
        *(shown(own.spread(one), 2) for one in ("any_dsc", "named", "alarms")),
        "" if name == FULL else ahead(Gap.between(summary[FULL], own)),
        *([shown(own.spread("legacy_dsc"))] if volumes else []),
        "unknown" if known is None else f"{known:.2f} %",
    ]
    return f"| {' | '.join(cells)} |"


def shown(spread: Spread, digits: int = 3) -> str:
    """Mean and deviation, which one seed does not have; a dash where there is no value."""
    if spread.count == 0:
        return "–"
    if spread.count == 1:
        return f"{spread.mean:.{digits}f}"
    return f"{spread.mean:.{digits}f} ± {spread.std:.{digits}f}"


def ahead(gap: Gap) -> str:
    """+0.031 ± 0.020 (4 of 5)"""
    if gap.seeds == 1:
        return f"{gap.mean:+.3f}"
    return f"{gap.mean:+.3f} ± {gap.std:.3f} ({gap.won} of {gap.seeds})"


def _ablations_table(summary: dict[str, MethodSummary]) -> list[str]:
    names = [name for name in ABLATIONS if name in summary]
    if not names:
        return []
    head = (
        "| changed | DSC | where visible | absent drawn | taught | the whole is ahead by |\n"
        "|---|---|---|---|---|---|"
    )
    rows = []
    for name in [FULL, *names]:
        own, method = summary[name], EVERYTHING[name]
        title = "nothing: the whole" if name == FULL else method.title
        if method.about == "fitted anew":
            title += ", fitted anew"
        cells = [
            title,
            *(shown(own.spread(one)) for one in ("dsc", "visible_dsc")),
            *(shown(own.spread(one), 2) for one in ("alarms", "taught")),
            "" if name == FULL else ahead(Gap.between(summary[FULL], own)),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    legend = (
        "Where nothing is said, the part is taken out of the whole method's profile, and what was "
        "chosen for the whole (calibration, object offset, weight of names) stays. Taught: share "
        "of class-frames that were learnt from."
    )
    return ["## Ablations", f"{head}\n" + "\n".join(rows), legend]


def _losses(config: PaperConfig, summary: dict[str, MethodSummary]) -> list[str]:
    full = summary[FULL]
    lines = [
        f"- {line}"
        for name, own in summary.items()
        if name != FULL and (line := why(EVERYTHING[name].title, full, own))
    ]
    if not lines:
        return ["Nowhere: its mean DSC is the highest of all that ran."]
    return ["\n".join(lines)]


def why(title: str, full: MethodSummary, other: MethodSummary) -> str | None:
    """What differs where another's mean DSC is higher; None where it is not."""
    gap = Gap.between(full, other)
    if not gap.mean < -EQUAL:
        return None
    close = abs(gap.mean) <= gap.std
    said = []
    for figure, what in (
        ("any_dsc", "finding (any class)"),
        ("named", "naming (right name where found)"),
        ("alarms", "absent classes drawn"),
        ("visible_dsc", "DSC where visible"),
    ):
        ours, theirs = full.spread(figure).mean, other.spread(figure).mean
        if abs(ours - theirs) >= NOTICEABLE:
            said.append(f"{what} {ours:.2f} against {theirs:.2f}")
    measured = "; ".join(said) or "finding, naming and false alarms within 0.02 of each other"
    within = ", within one standard deviation of the difference" if close else ""
    return (
        f"**{title}** is ahead by {-gap.mean:.3f} (in {gap.seeds - gap.won} of {gap.seeds} "
        f"seeds{within}): {measured}."
    )


def _classes_table(results: Sequence[SeedResult], summary: dict[str, MethodSummary]) -> list[str]:
    names = {spec.class_id: spec.name for one in results for spec in one.split.classes}
    methods = [name for name in METHODS if name in summary]
    ids = sorted(names)
    head = f"| DSC by class | {' | '.join(names[one] for one in ids)} |\n|---|{'---|' * len(ids)}"
    rows = []
    for name in methods:
        values = [
            shown(Spread.of([s.by_class.get(one, float("nan")) for s in summary[name].seeds]), 2)
            for one in ids
        ]
        rows.append(f"| {EVERYTHING[name].title} | {' | '.join(values)} |")
    return ["## Classes", f"{head}\n" + "\n".join(rows)]


def _open_points() -> list[str]:
    rows = [f"| {one.point} | {one.choice} | {one.reason} |" for one in OPEN_POINTS]
    return ["| open | done here | reason |\n|---|---|---|\n" + "\n".join(rows)]

"""`trocar bench report`: a folder of results as one Markdown page with plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import latency_figure, scaling_figure, stage_figure
from models.errors import DatasetError

Lines = list[str]


def write_report(folder: Path, out: Path) -> Path:
    """Read every result of a known kind, write report.md and its plots; returns its path.

    Raises DatasetError: no folder, or no result in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"expected a folder of results, found no folder {folder}")
    results = [(path.stem, _read(path)) for path in sorted(folder.glob("*.json"))]
    known = [(name, one) for name, one in results if one.get("kind") in SECTIONS]
    if not known:
        kinds = ", ".join(SECTIONS)
        raise DatasetError(f"expected results of {kinds} in {folder}, found none")
    out.mkdir(parents=True, exist_ok=True)
    lines = ["# Benchmark results", ""]
    for name, content in known:
        lines += [f"## {name}", "", _where(content), ""]
        lines += [*SECTIONS[content["kind"]](name, content, out), ""]
    others = [f"{name}.json" for name, one in results if one.get("kind") not in SECTIONS]
    if others:
        lines += ["## Not on this page", "", f"Results of other kinds: {', '.join(others)}.", ""]
    page = out / "report.md"
    page.write_text("\n".join(lines))
    return page


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name}: expected a JSON result ({error})") from error
    return content if isinstance(content, dict) else {}


def _where(content: dict[str, Any]) -> str:
    machine = content["environment"]
    device = machine["cuda"] or f"{machine['processor']}, {machine['threads']} threads"
    note = f" {content['note']}." if content.get("note") else ""
    settings = _said({key: value for key, value in content["settings"].items() if value})
    return f"{device}; torch {machine['torch']}; commit {machine['commit']}.{note} {settings}."


def _table(head: list[str], rows: list[list[str]]) -> Lines:
    ruler = "|".join(["---", *["---:"] * (len(head) - 1)])
    body = ["| " + " | ".join(row) + " |" for row in rows]
    return ["| " + " | ".join(head) + " |", f"|{ruler}|", *body]


def _said(content: Mapping[str, Any]) -> str:
    """Key and value after one another, numbers to four digits."""
    each = (
        f"{key} {_said(value)}"
        if isinstance(value, Mapping)
        else f"{key} {value:.4g}"
        if isinstance(value, float)
        else f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in content.items()
    )
    return ", ".join(each)


PERCENTILES = ("p50", "p90", "p95", "p99", "max")


def _stages(name: str, content: dict[str, Any], out: Path) -> Lines:
    rows = []
    for engine, numbers in content["engines"].items():
        parts = {"step": numbers["step_ms"], "look": numbers["look_ms"]}
        parts |= {"learn": numbers["learn_ms"]} | numbers["stages"]
        for label, one in parts.items():
            share = f"{one['share']:.0%}" if "share" in one else ""
            figures = [f"{one[key]:.1f}" for key in PERCENTILES]
            rows.append([f"{engine}: {label}", *figures, share])
    lines = _table(["ms", *PERCENTILES, "share"], rows)
    samples = {key: one["step_samples_ms"] for key, one in content["engines"].items()}
    latency_figure(samples, "whole step", out / f"{name}-latency.png")
    means = {
        key: {
            stage: taken["share"] * float(np.mean(one["step_samples_ms"]))
            for stage, taken in one["stages"].items()
        }
        for key, one in content["engines"].items()
    }
    stage_figure(means, "where a step's time goes", out / f"{name}-stages.png")
    for engine, one in content["engines"].items():
        if "floor" in one:
            under = one["floor"]
            lines += [
                "",
                f"{engine}: floor {under['step_floor_ms']:.1f} ms, "
                f"{under['fraction_reached']:.0%} of it reached.",
            ]
    pictures = [f"![latency]({name}-latency.png)", f"![stages]({name}-stages.png)"]
    return [*lines, "", *pictures]


def _peers(_: str, content: dict[str, Any], __: Path) -> Lines:
    rows = []
    for who, each in content["frame_ms"].items():
        times = content["times_the_predictor"].get(who)
        said = f"{times['median']:.2f} ({times['p25']:.2f} to {times['p75']:.2f})" if times else ""
        rows.append([who, f"{np.median(each):.1f}", said])
    return _table(["", "ms a frame", "times as fast as sam2's own video predictor"], rows)


def _scale(name: str, content: dict[str, Any], out: Path) -> Lines:
    lines: Lines = []
    for axis in ("classes", "image size"):
        points = content["axes"].get(axis, {})
        rows = [
            [
                label,
                *(f"{one['step_ms'][key]:.1f}" for key in PERCENTILES),
                f"{one['times_the_first']:.2f}",
                f"{one['look_times_the_first']:.2f}",
            ]
            for label, one in points.items()
        ]
        lines += [*_table([axis, *PERCENTILES, "times the first", "to the masks"], rows), ""]
        plot = f"{name}-{axis.replace(' ', '-')}.png"
        medians = {label: one["step_ms"]["p50"] for label, one in points.items()}
        scaling_figure(medians, axis, f"a step as {axis} grows", out / plot)
        lines += [f"![{axis}]({plot})", ""]
    rows = [
        [label, f"{one['frames_a_second_each']:.1f}", f"{one['frames_a_second_in_all']:.1f}"]
        for label, one in content["axes"].get("sessions", {}).items()
    ]
    return [*lines, *_table(["sessions", "frames/s each", "in all"], rows)]


def _streaming(_: str, content: dict[str, Any], __: Path) -> Lines:
    rows = []
    for engine, by_rate in content["engines"].items():
        for rate, row in by_rate.items():
            scores = [row["displayed_dsc"], row["own_dsc"]]
            cells = [f"{one['mean']:.3f} ± {one['std']:.3f}" for one in scores]
            rows.append([engine, rate, *cells, f"{row['frames_seen']:.0%}"])
    return _table(["engine", "frames/s", "DSC on display", "DSC of its own frame", "seen"], rows)


def _soak(_: str, content: dict[str, Any], __: Path) -> Lines:
    keys = ("step_ms_p50_by_tenth", "step_ms_p20_by_tenth", "resident_mb_by_tenth")
    head = ["", *(f"{number}/10" for number in range(1, 11))]
    rows = [[key, *(f"{value:.1f}" for value in content[key])] for key in keys]
    return _table(head, rows)


def _gpu(name: str, content: dict[str, Any], out: Path) -> Lines:
    rows, samples = [], {}
    for size, one in content["sizes"].items():
        for engine, numbers in one["engines"].items():
            if "missing" in numbers:
                continue
            label = f"{size} px, {engine}"
            samples[label] = numbers["step_samples_ms"]
            parts = {"step": numbers["step_ms"], "while memories fill": numbers["filling_step_ms"]}
            parts |= {"look": numbers["look_ms"], "learn": numbers["learn_ms"]} | numbers["stages"]
            for stage, taken in parts.items():
                reached = f"{taken['floor']['fraction_reached']:.1%}" if "floor" in taken else ""
                figures = [f"{taken[key]:.2f}" for key in PERCENTILES]
                rows.append([f"{label}: {stage}", *figures, reached])
    lines = _table(["ms", *PERCENTILES, "of the floor"], rows)
    for size, one in content["sizes"].items():
        for engine, times in one.get("times_the_predictor", {}).items():
            each = ", ".join(f"{label} {found['median']:.2f}" for label, found in times.items())
            lines += [
                "",
                f"{size} px, {engine}, times as fast as sam2's own video predictor: {each}.",
            ]
    for engine, ways in content["parity"].items():
        for way, found in () if "missing" in ways else ways.items():
            lines += ["", f"Beside torch on NANO, {engine} {way}: {_said(found)}."]
    latency_figure(samples, "whole step", out / f"{name}-latency.png")
    return [*lines, "", f"![latency]({name}-latency.png)"]


SECTIONS: dict[str, Callable[[str, dict[str, Any], Path], Lines]] = {
    "stages": _stages,
    "peers": _peers,
    "scale": _scale,
    "streaming-accuracy": _streaming,
    "soak": _soak,
    "gpu": _gpu,
}

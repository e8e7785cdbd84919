"""`trocar bench report`: a folder of results as one Markdown page with plots."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import latency_figure, scaling_figure, stage_figure
from benchmarks.quality.metrics import Spread
from models.errors import DatasetError

Lines = list[str]

GPU_ENGINES = {"cuda_graph", "tensorrt"}
WORDS = {
    ("learning", True): "updates on",
    ("learning", False): "no updates",
    ("learn_all", True): "every class learns from every frame",
    ("learn_all", False): "one class learns at a time",
    ("instances", True): "by the head alone",
    ("instances", False): "by the memory path",
    ("tuned", True): "sam2's compiled variant tuned",
    ("tuned", False): "sam2's compiled variant untuned",
    ("online", True): "updates on",
    ("online", False): "no updates",
}
DRAWN_AS = {"attend_placed": "attend_memory"}  # the same work by another name


def write_report(folder: Path, out: Path) -> Path:
    """Read every result of a known kind, write report.md and its plots; returns its path.

    Raises DatasetError: no folder, or no result in it.
    """
    if not folder.is_dir():
        raise DatasetError(f"expected a folder of results, found no folder {folder}")
    results = [(path.stem, _read(path)) for path in sorted(folder.glob("*.json"))]
    known = [(name, one) for name, one in results if _kind(one) in SECTIONS]
    if not known:
        kinds = ", ".join(SECTIONS)
        raise DatasetError(f"expected results of {kinds} in {folder}, found none")
    out.mkdir(parents=True, exist_ok=True)
    lines = ["# Benchmark results", ""]
    for name, content in known:
        try:
            section = [_where(content), "", *SECTIONS[_kind(content)](name, content, out)]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            with contextlib.suppress(OSError):
                out.rmdir()  # where there is nothing in it
            raise DatasetError(
                f"{name}.json: expected a result of {_kind(content)}, it is not whole ({error})"
            ) from error
        lines += [f"## {name}", "", *section, ""]
    others = [f"{name}.json" for name, one in results if _kind(one) not in SECTIONS]
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


def _kind(content: dict[str, Any]) -> str:
    kind = content.get("kind")
    return kind if isinstance(kind, str) else ""


def _where(content: dict[str, Any]) -> str:
    machine, settings = content["environment"], content["settings"]
    engines = {*settings.get("engines", ()), settings.get("engine")}
    if machine["cuda"] and (_kind(content) == "gpu" or engines & GPU_ENGINES):
        device = machine["cuda"]
    else:
        of_it = "".join(f", {one}" for one in machine.get("instructions", ()))
        device = f"{machine['processor']}, {machine['threads']} threads{of_it}"
    note = f" {content['note']}." if content.get("note") else ""
    words = [
        WORDS.get((key, value), f"{key} {value}")
        for key, value in settings.items()
        if isinstance(value, bool)
    ]
    others = {key: one for key, one in settings.items() if not isinstance(one, bool) and one}
    said = ", ".join([_said(others), *words])
    return f"{device}; torch {machine['torch']}; commit {machine['commit']}.{note} {said}."


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


PREDICTOR = "sam2's own video predictor"
PERCENTILES = ("p50", "p90", "p95", "p99", "max")


def _stages(name: str, content: dict[str, Any], out: Path) -> Lines:
    rows = []
    for engine, numbers in content["engines"].items():
        parts = {"step": numbers["step_ms"], "look": numbers["look_ms"]}
        parts |= {"learn": numbers["learn_ms"]} | numbers["stages"]
        for label, one in parts.items():
            share = f"{one['share']:.0%}" if "share" in one else ""
            figures = [f"{one[key]:.1f}" for key in PERCENTILES]
            rows.append([f"{engine}: {label}", str(one["n"]), *figures, share])
    lines = _table(["ms", "steps", *PERCENTILES, "share"], rows)
    samples = {key: one["step_samples_ms"] for key, one in content["engines"].items()}
    latency_figure(samples, f"{name}: whole step", out / f"{name}-latency.png")
    means = {
        key: {
            DRAWN_AS.get(stage, stage): taken["share"] * float(np.mean(one["step_samples_ms"]))
            for stage, taken in one["stages"].items()
        }
        for key, one in content["engines"].items()
    }
    stage_figure(means, f"{name}: where a step's time goes", out / f"{name}-stages.png")
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
        called = PREDICTOR if who == "predictor" else f"trocar, {who}"
        rows.append([called, f"{np.median(each):.1f}", said])
    return _table(["", "ms a frame", f"times as fast as {PREDICTOR}"], rows)


GROWING = {
    "classes": ("classes", "a step as classes grow"),
    "image size": ("image size, px", "a step as the network's picture grows"),
}


def _scale(name: str, content: dict[str, Any], out: Path) -> Lines:
    lines: Lines = []
    for axis in GROWING:
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
        figures = [f"{one}, ms" for one in PERCENTILES]
        head = [axis, *figures, "times the first", "to the masks, times the first"]
        lines += [*_table(head, rows), ""]
        plot = f"{name}-{axis.replace(' ', '-')}.png"
        medians = {label: one["step_ms"]["p50"] for label, one in points.items()}
        label, title = GROWING[axis]
        scaling_figure(medians, label, f"{name}: {title}", out / plot)
        lines += [f"![{axis}]({plot})", ""]
    rows = [
        [label, f"{one['frames_a_second_each']:.1f}", f"{one['frames_a_second_in_all']:.1f}"]
        for label, one in content["axes"].get("sessions", {}).items()
    ]
    lines += [*_table(["sessions", "frames/s each", "in all"], rows), ""]
    keys = ("ms_a_picture", "ms_a_picture_without_the_model", "times_the_first")
    viewers = content["axes"].get("viewers", {})
    rows = [[label, *(f"{one[key]:.2f}" for key in keys)] for label, one in viewers.items()]
    head = ["viewers", "a picture, ms of processor", "without the model", "times the first"]
    return [*lines, *(_table(head, rows) if rows else ())]


def _streaming(_: str, content: dict[str, Any], __: Path) -> Lines:
    rows = []
    for engine, by_rate in content["engines"].items():
        for rate, row in by_rate.items():
            scores = [row["displayed_dsc"], row["own_dsc"]]
            cells = [str(Spread(**one)) for one in scores]
            rows.append([engine, rate, *cells, f"{row['frames_seen']:.0%}"])
    return _table(["engine", "frames/s", "DSC on display", "DSC of its own frame", "seen"], rows)


def _soak(_: str, content: dict[str, Any], __: Path) -> Lines:
    keys = {
        "step_ms_p50_by_tenth": "step, ms, median",
        "step_ms_p20_by_tenth": "step, ms, 20th percentile",
        "resident_mb_by_tenth": "memory, MB",
    }
    head = ["tenth of the frames", *(str(number) for number in range(1, 11))]
    rows = [[said, *(f"{value:.1f}" for value in content[key])] for key, said in keys.items()]
    told = f"The last tenth takes {content['last_over_second_tenth']:.3f} of the second."
    return [*_table(head, rows), "", told]


LATENCY = ("p50", "p95", "p99", "max")


def _latencies(title: str, found: Mapping[str, Mapping[str, Any]]) -> Lines:
    rows = [
        [name, *(f"{one[key]:.1f}" if key in one else "-" for key in LATENCY), _lost(one)]
        for name, one in found.items()
    ]
    return _table([f"{title}, ms", *LATENCY, "frames not seen"], rows)


def _lost(one: Mapping[str, Any]) -> str:
    made = one.get("frames_captured")
    return "" if made is None else f"{one['frames_not_seen']} of {made}"


def _loopback(_: str, content: dict[str, Any], __: Path) -> Lines:
    added = content["added_to_a_plain_relay_p50_ms"]
    return [
        *_latencies("capture to decoded pixels", content["capture_to_decode_ms"]),
        "",
        f"Added to a plain relay, p50: {added} ms. Updates: {_said(content['updates'])}.",
    ]


def _in_browser(_: str, content: dict[str, Any], __: Path) -> Lines:
    views = {key: one for key, one in content.items() if isinstance(one, dict) and "p50" in one}
    said = f"Updates: {_said(content['updates'])}."
    return [*_latencies("capture to pixels in Chromium", views), "", said]


def _steady(_: str, content: dict[str, Any], __: Path) -> Lines:
    minutes = {f"minute {number}": one for number, one in enumerate(content["minutes"], 1)}
    grown, verdict = _said(content["last_over_second"]), "steady" if content["steady"] else "GROWS"
    return [
        *_latencies("capture to decoded pixels", minutes),
        "",
        f"The last minute over the second: {grown}. It is {verdict}. "
        f"Updates: {_said(content['updates'])}.",
    ]


def _exactness(_: str, content: dict[str, Any], __: Path) -> Lines:
    kinds = ("shown_with_a_mask", "with_their_own_mask", "with_another_ones_mask")
    rows = [
        [one["mode"], f"{one['packets_lost']:.0%}", *(str(one[f"frames_{kind}"]) for kind in kinds)]
        for one in content["modes"]
    ]
    return _table(["", "lost", "frames with a mask", "their own", "another one's"], rows)


def _tour(name: str, content: dict[str, Any], out: Path) -> Lines:
    return [*_stages(name, content["stages"], out), "", *_peers(name, content["peers"], out)]


def _gpu(name: str, content: dict[str, Any], out: Path) -> Lines:
    rows, samples, missing = [], {}, []
    for size, one in content["sizes"].items():
        for engine, numbers in one["engines"].items():
            if "missing" in numbers:
                missing.append(f"{size} px, {engine}: not measured, {numbers['missing']}.")
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
    for one in missing:
        lines += ["", one]
    latency_figure(samples, f"{name}: whole step", out / f"{name}-latency.png")
    return [*lines, "", f"![latency]({name}-latency.png)"]


SECTIONS: dict[str, Callable[[str, dict[str, Any], Path], Lines]] = {
    "stages": _stages,
    "peers": _peers,
    "scale": _scale,
    "streaming-accuracy": _streaming,
    "soak": _soak,
    "gpu": _gpu,
    "loopback": _loopback,
    "in-browser": _in_browser,
    "exactness": _exactness,
    "steady": _steady,
    "tour": _tour,
}

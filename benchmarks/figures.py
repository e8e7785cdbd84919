"""Figures of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("agg")
LINES = ("-", "--", ":", "-.")  # where there are more curves than colours
COLORS = ("#3b7dd8", "#e0793c", "#3fa66a", "#b04fc4", "#8a6d3b", "#c43b56", "#4bb3c4", "#7a7a7a")


def bar_figure(bars: Mapping[str, Mapping[str, float]], title: str, out: Path) -> None:
    """Horizontal bars of mean with standard deviation. bars: name -> {"mean", "std"}"""
    figure, axes = _figure(0.5 * len(bars) + 1.2, title)
    names = list(bars)[::-1]
    means = [bars[name]["mean"] for name in names]
    spread = [bars[name]["std"] for name in names]
    axes.barh(names, means, xerr=spread, color=COLORS[0], ecolor="#888", height=0.6)
    for row, mean in enumerate(means):
        axes.text(0.01, row, f"{mean:.3f}", va="center", color="white", fontweight="bold")
    axes.set_xlim(0, 1)
    figure.savefig(str(out), dpi=110)


def latency_figure(samples_ms: Mapping[str, Sequence[float]], title: str, out: Path) -> None:
    """Share of steps that took at most so long, one curve a run."""
    figure, axes = _figure(3.6, title)
    for number, (name, samples) in enumerate(samples_ms.items()):
        ordered = np.sort(samples)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        again, color = divmod(number, len(COLORS))
        line = LINES[again % len(LINES)]
        axes.plot(ordered, share, color=COLORS[color], linestyle=line, label=name)
    axes.set(xlabel="step, ms", ylabel="share of steps", ylim=(0, 1))
    axes.set_xlim(left=0)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(str(out), dpi=110)


def stage_figure(stages_ms: Mapping[str, Mapping[str, float]], title: str, out: Path) -> None:
    """A bar a run, made of its stages. stages_ms: run -> stage -> milliseconds"""
    figure, axes = _figure(0.6 * len(stages_ms) + 2.2, title)
    names = list(stages_ms)[::-1]
    stages = list(dict.fromkeys(stage for each in stages_ms.values() for stage in each))
    left, colors = np.zeros(len(names)), [mpl.colormaps["tab20"](number) for number in range(20)]
    for number, stage in enumerate(stages):
        widths = np.array([stages_ms[name].get(stage, 0.0) for name in names])
        color = colors[number % len(colors)]
        axes.barh(names, widths, left=left, color=color, height=0.6, label=stage)
        left += widths
    axes.set_xlabel("ms, mean of a step")
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(str(out), dpi=110)


def scaling_figure(points: Mapping[str, float], axis: str, title: str, out: Path) -> None:
    """One curve over what grows. points: its label, a number -> milliseconds"""
    figure, axes = _figure(3.4, title)
    axes.plot([float(label) for label in points], list(points.values()), "o-", color=COLORS[0])
    axes.set(xlabel=axis, ylabel="step p50, ms")
    axes.set_ylim(bottom=0)
    figure.savefig(str(out), dpi=110)


def _figure(height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes

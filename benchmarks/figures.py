"""Figures of results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("agg")


def bar_figure(bars: Mapping[str, Mapping[str, float]], title: str, out: Path) -> None:
    """Horizontal bars of mean with standard deviation. bars: name -> {"mean", "std"}"""
    figure = Figure(figsize=(7, 0.5 * len(bars) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    names = list(bars)[::-1]
    means = [bars[name]["mean"] for name in names]
    spread = [bars[name]["std"] for name in names]
    axes.barh(names, means, xerr=spread, color="#3b7dd8", ecolor="#888", height=0.6)
    for row, mean in enumerate(means):
        axes.text(0.01, row, f"{mean:.3f}", va="center", color="white", fontweight="bold")
    axes.set_xlim(0, 1)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(str(out), dpi=110)

"""The curve of a pretraining run, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

WINDOW = 25


def draw_curve(history: Sequence[dict[str, float]], out: Path) -> None:
    """One panel per figure that a stage reports, smoothed over 25 steps."""
    names = list(dict.fromkeys(name for step in history for name in step))
    columns = 4
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.2 * rows), layout="constrained")
    for place, name in enumerate(names):
        steps = [n for n, step in enumerate(history) if step.get(name, np.nan) == step.get(name)]
        values = np.array([history[n][name] for n in steps])
        axes = figure.add_subplot(rows, columns, place + 1)
        if len(values) >= WINDOW:
            kernel = np.ones(WINDOW) / WINDOW
            axes.plot(steps[WINDOW - 1 :], np.convolve(values, kernel, "valid"), lw=1.2)
        else:
            axes.plot(steps, values, lw=1.2)
        axes.set_title(name, loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(str(out), dpi=90)

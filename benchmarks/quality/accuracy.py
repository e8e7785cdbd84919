"""`trocar bench accuracy`: the method and its parts on a folder data set of one's own.

Per seed: `shots` annotated frames are drawn for fitting from half of the clips; the other half is
the test, as sequences in order. With a single clip, its first half is for fitting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.environment import environment
from benchmarks.figures import bar_figure
from benchmarks.quality.metrics import Spread
from benchmarks.result_file import write_result
from benchmarks.speed.variants import FOREGROUND, VARIANTS, Tally, run_sequence
from models.config import FitConfig
from models.datasets.folder import open_folder
from models.datasets.sequences import AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.fitting.annotated import AnnotatedFrames, Pair, draw_shots, visible_classes
from models.fitting.fit import fit_frames
from models.method.checkpoint import load_embedded
from models.tracking.tracker import Tracker
from models.types import BACKGROUND_ID, IGNORE_ID


@dataclass(frozen=True)
class Split:
    """Clips to draw annotated frames from, and clips to test on."""

    fit: Dataset
    test: tuple[AnnotatedSequence, ...]


def split_clips(dataset: Dataset, seed: int) -> Split:
    """Half of the clips (at least one) for fitting, drawn by seed; one clip is cut in half.

    Of several clips, the first to show a class in the drawn order is always among those for
    fitting: background alone teaches nothing.

    Raises DatasetError when there are too few annotated frames to test on.
    """
    clips = [clip for clip in dataset.sequences if clip.annotated()]
    if not clips:
        raise DatasetError("expected annotated frames, found no masks at all")
    if len(clips) == 1:
        middle = len(clips[0].frames) // 2
        first, second = clips[0].frames[:middle], clips[0].frames[middle:]
        fit: tuple[AnnotatedSequence, ...] = (replace(clips[0], frames=first),)
        test: tuple[AnnotatedSequence, ...] = (replace(clips[0], frames=second),)
    else:
        drawn = [clips[int(i)] for i in np.random.default_rng(seed).permutation(len(clips))]
        telling = next((n for n, clip in enumerate(drawn) if _shows(clip)), 0)
        drawn.insert(0, drawn.pop(telling))
        half = max(1, len(clips) // 2)
        fit, test = tuple(drawn[:half]), tuple(drawn[half:])
    if not any(clip.annotated() for clip in test):
        raise DatasetError("expected annotated frames beyond those for fitting, found none to test")
    return Split(replace(dataset, sequences=fit), test)


def _shows(clip: AnnotatedSequence) -> bool:
    """Is a class visible in any of its masks? Reads until the first that shows one."""
    return any(((mask != BACKGROUND_ID) & (mask != IGNORE_ID)).any() for _, mask in _pairs(clip))


def run_folder(data: Path, shots: int, seeds: int, out: Path) -> int:
    """Measure, print the table, write JSON and a figure beside it. Returns the exit code."""
    dataset = open_folder(data)
    weights = load_embedded()
    tallies: dict[str, list[Tally]] = {key: [] for key in VARIANTS}
    bar = tqdm(total=seeds * len(VARIANTS), desc="accuracy", unit="run")
    most = 0  # annotated frames that were drawn: there may be fewer than was asked for
    for seed in range(seeds):
        split = split_clips(dataset, seed)
        drawn = draw_shots(split.fit, shots, seed)
        most = max(most, len(drawn.pairs))
        classes = visible_classes(dataset.classes, drawn.pairs)
        ids = [spec.class_id for spec in classes]
        size = weights.model.config.backbone.image_size
        frames = AnnotatedFrames.of(drawn.pairs, ids, size, drawn.clip)
        profile, _ = fit_frames(weights, classes, frames, FitConfig(seed=seed))
        for key, parts in VARIANTS.items():
            tracker, tally = Tracker(weights, profile, parts), Tally()
            for clip in split.test:
                run_sequence(tracker, _pairs(clip), tally)
            tallies[key].append(tally)
            bar.update()
    bar.close()
    result = _result(dataset, tallies, {"shots": most, "seeds": seeds, "data": data.name})
    write_result(result, out)
    bars = {key: value["mean"]["dsc"] for key, value in result["variants"].items()}
    bar_figure(bars, f"class DSC, {most} annotated frames, {seeds} seeds", out.with_suffix(".png"))
    print_table(result)
    return 0


def _pairs(clip: AnnotatedSequence) -> Iterator[Pair]:
    for frame in clip.frames:
        if frame.read_mask is not None:
            yield frame.read_image(), frame.read_mask()


def _result(
    dataset: Dataset, tallies: dict[str, list[Tally]], settings: dict[str, Any]
) -> dict[str, Any]:
    return {
        "environment": environment(),
        "settings": settings,
        "rules": "scores where the class is visible; absent classes count as false alarms",
        "variants": {key: _variant(dataset, runs) for key, runs in tallies.items()},
    }


def _variant(dataset: Dataset, runs: list[Tally]) -> dict[str, Any]:
    named = [(spec.name, spec.class_id) for spec in dataset.classes]
    scores = {
        name: {
            metric: asdict(Spread.of([_mean(getattr(run, metric), class_id) for run in runs]))
            for metric in ("dsc", "iou", "hd95")
        }
        for name, class_id in [*named, ("foreground", FOREGROUND)]
    }
    return {
        "classes": scores,
        "mean": {"dsc": asdict(Spread.of([run.class_dsc() for run in runs]))},
        "false_alarms": asdict(Spread.of([run.alarm_share() for run in runs])),
        "gate_share": asdict(Spread.of([run.gate_share() for run in runs])),
    }


def _mean(scores: dict[int, list[float]], class_id: int) -> float:
    values = scores.get(class_id, [])
    return float(np.mean(values)) if values else float("nan")


def print_table(result: dict[str, Any]) -> None:
    """Variants in rows; mean and standard deviation over seeds."""
    print(f"{'':24}{'class DSC':>16}{'any DSC':>16}{'any IoU':>16}{'any HD95 px':>16}{'gate':>8}")
    for key, row in result["variants"].items():
        whole = row["classes"]["foreground"]
        cells = [row["mean"]["dsc"], whole["dsc"], whole["iou"], whole["hd95"]]
        text = "".join(str(Spread(**one)).rjust(16) for one in cells)
        print(f"{key:24}{text}{row['gate_share']['mean']:>8.1%}")

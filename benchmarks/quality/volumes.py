"""`trocar bench volumes`: fit on a few volumes of a data set, segment the others, score in mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.quality.case_scores import CaseScores, ScoreTable, score_classes
from benchmarks.result_file import result, write_result
from models.config import FitConfig
from models.datasets.registry import open_dataset
from models.datasets.sequences import AnnotatedSequence
from models.datasets.splits import Split, draw_sequences
from models.errors import DatasetError
from models.fitting.annotated import AnnotatedFrames, draw_shots, visible_classes
from models.fitting.fit import fit_frames
from models.method.checkpoint import load_embedded
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import ClassSpec, UInt8Array
from models.volumes import Order
from service.offline.contact_sheet import contact_sheet, spread
from service.offline.segment_volume import segment_slices

METRICS = ("dsc", "hd95", "assd")
ENOUGH = 20  # test cases below which the result says that it is no basis for a claim


@dataclass(frozen=True)
class VolumesConfig:
    """A data set, how many of its volumes are for fitting, and the seed that draws them."""

    dataset: str
    data: Path
    volumes: int = 2
    seed: int = 0
    order: Order = "middle-out"
    online: bool = True
    note: str = ""


def run_volumes(config: VolumesConfig, out: Path) -> int:
    """Measure, print the table, write JSON, a CSV and an overlay a case beside it."""
    split = draw_sequences(open_dataset(config.dataset, config.data), config.volumes, config.seed)
    tracker, held_out = _fitted(split, config)
    classes = tracker.classes
    out.parent.mkdir(parents=True, exist_ok=True)
    cases = []
    for sequence in tqdm(split.test.sequences, desc="test", unit="volume"):
        found, truth = _segmented(sequence, tracker, config.order)
        ids = [spec.class_id for spec in classes]
        spacing = sequence.spacing_mm
        cases.append(CaseScores(sequence.name, score_classes(found, truth, ids, spacing=spacing)))
        _draw(sequence, found, classes, out.with_name(f"{sequence.name}.png"))
    table = ScoreTable(tuple(cases))
    table.write_csv(out.with_suffix(".csv"), {spec.class_id: spec.name for spec in classes})
    content = _result(config, split, held_out, (table, classes))
    write_result(content, out)
    _print(content)
    return 0


def _fitted(split: Split, config: VolumesConfig) -> tuple[Tracker, dict[str, float]]:
    """The tracker, and the DSC that fitting saw on annotated slices held out."""
    weights = load_embedded()
    drawn = draw_shots(split.fit, None, config.seed)
    classes = visible_classes(split.fit.classes, drawn.pairs)
    ids = [spec.class_id for spec in classes]
    size = weights.model.config.backbone.image_size
    frames = AnnotatedFrames.of(drawn.pairs, ids, size, drawn.clip)
    profile, report = fit_frames(weights, classes, frames, FitConfig(seed=config.seed))
    return Tracker(weights, profile, Ablation(online=config.online)), report.held_out_dsc


def _segmented(
    sequence: AnnotatedSequence, tracker: Tracker, order: Order
) -> tuple[UInt8Array, UInt8Array]:
    """Class maps found and true, (N, H, W). Raises DatasetError: a slice without labels."""
    frames, truth = sequence.frames, []
    for frame in frames:
        if frame.read_mask is None:
            raise DatasetError(f"{sequence.name}/{frame.name}: expected labels for the test")
        truth.append(frame.read_mask())
    tracker.reset()
    found = np.zeros((len(frames), *truth[0].shape), np.uint8)
    answers = segment_slices(len(frames), lambda n: frames[n].read_image(), tracker, order)
    for number, answer in answers:
        found[number] = answer.class_map
    return found, np.stack(truth)


def _draw(
    sequence: AnnotatedSequence, found: UInt8Array, classes: tuple[ClassSpec, ...], path: Path
) -> None:
    spacing = (sequence.spacing_mm or (1.0, 1.0, 1.0))[1:]
    sheet = contact_sheet(
        lambda n: (sequence.frames[n].read_image(), found[n]), spread(len(found)), classes, spacing
    )
    cv2.imwrite(str(path), sheet[..., ::-1])


def _result(
    config: VolumesConfig,
    split: Split,
    held_out: Mapping[str, float],
    scored: tuple[ScoreTable, tuple[ClassSpec, ...]],
) -> dict[str, Any]:
    table, classes = scored
    in_mm = all(sequence.spacing_mm for sequence in split.test.sequences)
    few = f"{len(table.cases)} test volumes are far too few for any claim"
    settings = {**asdict(config), "data": config.data.name}
    return result(
        "volumes",
        settings,
        config.note,
        **({"warning": few} if len(table.cases) < ENOUGH else {}),
        rules="a class missed, or found where it is not: DSC 0, distances the volume's diagonal",
        unit="mm" if in_mm else "voxels",
        fitted_on=[sequence.name for sequence in split.fit.sequences],
        tested_on=[sequence.name for sequence in split.test.sequences],
        held_out_dsc=dict(held_out),
        classes={
            spec.name: {m: asdict(table.over_cases(spec.class_id, m)) for m in METRICS}
            for spec in classes
        },
        mean={metric: table.mean(metric) for metric in METRICS},
    )


def _print(content: dict[str, Any]) -> None:
    unit = content["unit"]
    print(f"{'class':24}{'DSC':>16}{'HD95 ' + unit:>16}{'ASSD ' + unit:>16}")
    for name, row in content["classes"].items():
        cells = [f"{row[m]['mean']:.3f} ± {row[m]['std']:.3f}" for m in METRICS]
        print(f"{name:24}" + "".join(cell.rjust(16) for cell in cells))
    print(f"fitted on {', '.join(content['fitted_on'])}")
    print(content.get("warning", f"{len(content['tested_on'])} test volumes"))

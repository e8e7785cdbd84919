"""The protocol's loop: seeds, methods, cases. What is already on the disk is not done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from benchmarks.comparators.interface import FitSettings, Predictor
from benchmarks.comparators.ofl_sam2 import OflSam2Fits
from benchmarks.paper.case import CaseFile, CaseResult, score_case, segment_case, write_whole
from benchmarks.paper.methods import EVERYTHING
from benchmarks.paper.setting import PaperConfig
from benchmarks.paper.split import Limits, PaperSplit, split
from models.datasets.registry import open_dataset
from models.datasets.sequences import AnnotatedSequence
from models.errors import ModelError
from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights

FORMAT = "trocar-paper-1"


@dataclass(frozen=True)
class SeedResult:
    """One seed's split and the results of each method, case by case."""

    seed: int
    split: PaperSplit
    cases: dict[str, tuple[CaseResult, ...]]


def run(config: PaperConfig, weights: LoadedWeights) -> list[SeedResult]:
    """Fit and test whatever is missing; then read everything back.

    Raises ModelError when the output folder holds a run with other settings; DatasetError.
    """
    seeds = range(config.seeds) if config.only is None else [config.only]
    splits = {seed: _split(config, seed) for seed in seeds}
    _claim(config, weights)  # only now: a folder without data begins no run
    total = sum(len(one.test) for one in splits.values()) * len(config.methods)
    with tqdm(total=total, desc="paper", unit="case") as bar:
        for seed, drawn in splits.items():
            _run_seed(config, weights, _Seed(seed, drawn), bar)
    return [
        SeedResult(seed, drawn, {m: _read(config, seed, m, drawn) for m in config.methods})
        for seed, drawn in splits.items()
    ]


@dataclass(frozen=True)
class _Seed:
    number: int
    split: PaperSplit


def _split(config: PaperConfig, seed: int) -> PaperSplit:
    dataset = open_dataset(config.dataset, config.root_of(seed), **config.choices)
    limits = Limits(config.fit_frames, config.test_cases)
    return split(dataset, config.setting, seed, limits)


def _run_seed(config: PaperConfig, weights: LoadedWeights, seed: _Seed, bar: Any) -> None:
    todo = {name: list(_missing(config, seed, name)) for name in config.methods}
    bar.update(len(config.methods) * len(seed.split.test) - sum(map(len, todo.values())))
    if not any(todo.values()):
        return
    fitting = _Fitting(config, weights, seed)
    for name, sequences in todo.items():
        if not sequences:
            continue
        bar.set_postfix_str(f"seed {seed.number}, {name}")
        predictor = fitting.predictor(name)
        for sequence in sequences:
            seen = segment_case(predictor, sequence)
            result = score_case(sequence, seed.split.classes, seen)
            shown = len(seen.found) > 0 and sequence in _drawn(config, seed)
            picture = seen.found[len(seen.found) // 2] if shown else None
            CaseFile.of(config.out, seed.number, name, sequence.name).write(result, picture)
            bar.update()


def _drawn(config: PaperConfig, seed: _Seed) -> tuple[AnnotatedSequence, ...]:
    """The cases that become pictures: the first few of the first seed."""
    return seed.split.test[: config.panels] if seed.number == 0 else ()


def _missing(config: PaperConfig, seed: _Seed, method: str) -> Iterator[AnnotatedSequence]:
    for sequence in seed.split.test:
        if not CaseFile.of(config.out, seed.number, method, sequence.name).path.is_file():
            yield sequence


class _Fitting:
    """Fits a seed's methods; our variants share what they can."""

    def __init__(self, config: PaperConfig, weights: LoadedWeights, seed: _Seed) -> None:
        self._weights, self._classes = weights, seed.split.classes
        ids, shots = [spec.class_id for spec in self._classes], seed.split.shots
        size = weights.model.config.backbone.image_size
        self._frames = AnnotatedFrames.of(shots.pairs, ids, size, shots.clip)
        self._settings = FitSettings(seed.number, config.effort)
        self._ours = OflSam2Fits(weights, self._classes, self._frames, self._settings)

    def predictor(self, name: str) -> Predictor:
        method = EVERYTHING[name]
        if method.variant is not None:
            return self._ours.predictor(method.variant)
        if method.fit is None:
            raise ModelError(f"expected a way to fit {name}, it has none")
        return method.fit(self._weights, self._classes, self._frames, self._settings)


def _read(config: PaperConfig, seed: int, method: str, drawn: PaperSplit) -> tuple[CaseResult, ...]:
    found = [CaseFile.of(config.out, seed, method, one.name).read() for one in drawn.test]
    return tuple(one for one in found if one is not None)


def _claim(config: PaperConfig, weights: LoadedWeights) -> None:
    """Write what this run is, or hold it against what is there; seeds and methods may be added."""
    own = {
        "format": FORMAT,
        "dataset": config.dataset,
        "root": config.root,
        "setting": str(config.setting),
        "choices": config.choices,
        "backbone": weights.name,
        "weights": weights.sha256,
        "image_size": weights.model.config.backbone.image_size,
        "test_cases": config.test_cases,
        "fit_frames": config.fit_frames,
        "effort": config.effort,
    }
    path = config.out / "run.json"
    if not path.is_file():
        if config.out.is_dir() and any(config.out.iterdir()):
            raise ModelError(f"{config.out}: expected an empty folder or a run to go on with")
        write_whole(path, (json.dumps(own, indent=2) + "\n").encode())
        return
    there = json.loads(path.read_text())
    for key, value in own.items():
        if there.get(key) != value:
            raise ModelError(
                f"{config.out}: holds a run with {key} {there.get(key)}, this one has {value}; "
                "choose another folder"
            )

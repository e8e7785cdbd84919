"""The online update as graphs on a processor: its products run on all of the engine's threads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.engines.compiled_function import infer
from models.engines.graphs import Graph
from models.engines.onnx_files import export_graph, set_rows
from models.learner.mapping_network import Statistics
from models.learner.update_steps import Gathered, HalfWay, Known, Learnt, Sample, TorchTeacher

GATHERED = ("new_gram", "new_cross", "new_energy", "mixed_gram", "mixed_cross", "surprise")
HALF_WAY = ("half_tau", "half_gradient")
LEARNT = ("new_tau", "anchor_loss")


@dataclass(frozen=True)
class LessonShape:
    """width: D of T's output; described: d of its input; tokens: hw; iterations: of the descent"""

    width: int
    token_features: int
    tokens: int
    iterations: int


class OpenVinoTeacher:
    """`TorchTeacher` in float32; that does it for numbers of rows not compiled for."""

    def __init__(self, shape: LessonShape, counts: Iterable[int], threads: int) -> None:
        """counts: numbers of rows to compile for"""
        self._torch = TorchTeacher(shape.iterations)
        self._requests = {
            name: _compiled(graph, tuple(counts), threads)
            for name, graph in teacher_graphs(shape).items()
        }

    def gather(self, known: Known, sample: Sample) -> Gathered:
        """See models.learner.update_steps.Teacher."""
        found = self._run("gather", len(known.tau), _to_gather(known, sample))
        if found is None:
            return self._torch.gather(known, sample)
        gram, cross, energy, mixed_gram, mixed_cross, surprise = found
        weight = known.recent.weight.clone()
        mixed = Statistics(mixed_gram, mixed_cross, energy, weight)  # its energy moves no T
        return Gathered(Statistics(gram, cross, energy, weight), mixed, surprise)

    def begin(self, known: Known, gathered: Gathered) -> HalfWay:
        """See models.learner.update_steps.Teacher."""
        found = self._run("begin", len(known.tau), _to_begin(known, gathered.mixed))
        return self._torch.begin(known, gathered) if found is None else HalfWay(*found)

    def finish(self, known: Known, gathered: Gathered, half: HalfWay) -> Learnt:
        """See models.learner.update_steps.Teacher."""
        found = self._run("finish", len(known.tau), _to_finish(known, gathered.mixed, half))
        return self._torch.finish(known, gathered, half) if found is None else Learnt(*found)

    def _run(self, name: str, rows: int, given: dict[str, Tensor]) -> list[Tensor] | None:
        request = self._requests[name].get(rows)
        if request is None:
            return None
        return [value.clone() for value in infer(request, given.values())]


def _compiled(graph: Graph, counts: Iterable[int], threads: int) -> dict[int, Any]:
    """A request for each number of rows."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(threads),
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core, requests = openvino.Core(), {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lesson.onnx"
        export_graph(graph, file, any_rows=True)
        for count in counts:
            model = core.read_model(str(file))
            set_rows(model, count)
            requests[count] = core.compile_model(model, "CPU", settings).create_infer_request()
    return requests


class _Gather(nn.Module):
    """Over plain tensors, in the order of `_to_gather` and GATHERED."""

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        tau, token_features, target, weight, decay, share = given[:6]
        anchor_gram, anchor_cross, gram, cross, energy = given[6:]
        one = torch.ones_like(decay)
        anchor = Statistics(anchor_gram, anchor_cross, one, one)
        recent = Statistics(gram, cross, energy, one)
        known = Known(tau, anchor, recent, decay, share, one)
        found = TorchTeacher(0).gather(known, Sample(token_features, target, weight))
        new, mixed = found.recent, found.mixed
        return new.gram, new.cross, new.energy, mixed.gram, mixed.cross, found.surprise


class _Begin(nn.Module):
    """Over plain tensors, in the order of `_to_begin` and HALF_WAY."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self._teacher = TorchTeacher(iterations)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        tau, ridge, gram, cross = given
        one = torch.ones_like(tau[:, 0, 0])
        mixed = Statistics(gram, cross, one, one)
        known = Known(tau, mixed, mixed, one, one, ridge)
        found = self._teacher.begin(known, Gathered(mixed, mixed, one))
        return found.tau, found.gradient


class _Finish(nn.Module):
    """Over plain tensors, in the order of `_to_finish` and LEARNT."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self._teacher = TorchTeacher(iterations)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        tau, gradient, ridge, gram, anchor_gram, anchor_cross, energy = given
        one = torch.ones_like(energy)
        mixed = Statistics(gram, anchor_cross, one, one)  # its cross is in the gradient already
        anchor = Statistics(anchor_gram, anchor_cross, energy, one)
        known = Known(tau, anchor, mixed, one, one, ridge)
        half = HalfWay(tau, gradient)
        found = self._teacher.finish(known, Gathered(mixed, mixed, one), half)
        return found.tau, found.anchor_loss


def _to_gather(known: Known, sample: Sample) -> dict[str, Tensor]:
    anchor, recent = known.anchor, known.recent
    return {
        "tau": known.tau,
        "described": sample.token_features,
        "target": sample.target,
        "weight": sample.weight,
        "decay": known.decay,
        "share": known.share,
        "anchor_gram": anchor.gram,
        "anchor_cross": anchor.cross,
        "recent_gram": recent.gram,
        "recent_cross": recent.cross,
        "recent_energy": recent.energy,
    }


def _to_begin(known: Known, mixed: Statistics) -> dict[str, Tensor]:
    return {
        "tau": known.tau,
        "ridge": known.ridge,
        "recent_gram": mixed.gram,
        "recent_cross": mixed.cross,
    }


def _to_finish(known: Known, mixed: Statistics, half: HalfWay) -> dict[str, Tensor]:
    anchor = known.anchor
    return {
        "tau": half.tau,
        "gradient": half.gradient,
        "ridge": known.ridge,
        "recent_gram": mixed.gram,
        "anchor_gram": anchor.gram,
        "anchor_cross": anchor.cross,
        "anchor_energy": anchor.energy,
    }


def teacher_graphs(shape: LessonShape, rows: int = 2) -> dict[str, Graph]:
    """The parts of the update ready for export."""
    width, token_features, tokens = shape.width, shape.token_features, shape.tokens
    gram, cross = (
        torch.zeros(rows, token_features, token_features),
        torch.zeros(rows, width, token_features),
    )
    one = torch.ones(rows)
    statistics = Statistics(gram, cross, one, one)
    known = Known(cross, statistics, statistics, one, one, torch.ones(1))
    target, weight = torch.zeros(rows, width, tokens), torch.ones(rows, tokens)
    sample = Sample(torch.zeros(1, token_features, tokens), target, weight)
    return {
        "gather": Graph(_Gather(), _to_gather(known, sample), GATHERED),
        "begin": Graph(_Begin(shape.iterations), _to_begin(known, statistics), HALF_WAY),
        "finish": Graph(
            _Finish(shape.iterations), _to_finish(known, statistics, HalfWay(cross, cross)), LEARNT
        ),
    }

"""The online update as a graph on a processor: its products run on all of the engine's threads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.engines.onnx_files import Graph, export_graph, set_rows
from models.lesson import Known, Learnt, Sample, teach
from models.mapper import Statistics

OUTPUTS = ("new_tau", "gram", "cross", "energy", "anchor_loss", "surprise")


@dataclass(frozen=True)
class LessonShape:
    """width: D of T's output; described: d of its input; tokens: hw; iterations: of the descent"""

    width: int
    described: int
    tokens: int
    iterations: int


class OpenVinoTeacher:
    """`models.lesson.teach` in float32; torch does it for numbers of rows not compiled for."""

    def __init__(self, shape: LessonShape, counts: Iterable[int], threads: int) -> None:
        """counts: numbers of rows to compile for"""
        import openvino

        self._iterations = shape.iterations
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": "NO",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        self._request: dict[int, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "teach.onnx"
            export_graph(teach_graph(shape), file, any_rows=True)
            for count in counts:
                model = core.read_model(str(file))
                set_rows(model, count)
                compiled = core.compile_model(model, "CPU", settings)
                self._request[count] = compiled.create_infer_request()

    def __call__(self, known: Known, sample: Sample) -> Learnt:
        """See models.lesson.teach."""
        request = self._request.get(len(known.tau))
        if request is None:
            return teach(known, sample, self._iterations)
        given = _flat(known, sample).values()
        arrays = [np.ascontiguousarray(value.numpy()) for value in given]
        found = request.infer(arrays, share_inputs=True, share_outputs=True)
        # Copies: the request's own buffers are overwritten by its next run.
        tau, gram, cross, energy, anchor_loss, surprise = (
            torch.from_numpy(np.array(found[index])) for index in range(len(OUTPUTS))
        )
        recent = Statistics(gram, cross, energy, known.recent.weight.clone())
        return Learnt(tau, recent, anchor_loss, surprise)


class _Teach(nn.Module):
    """The same over plain tensors, in the order of `_flat` and OUTPUTS."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self._iterations = iterations

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        tau, described, target, weight, decay, share, ridge = given[:7]
        anchor_gram, anchor_cross, anchor_energy, gram, cross, energy = given[7:]
        one = torch.ones_like(decay)
        anchor = Statistics(anchor_gram, anchor_cross, anchor_energy, one)
        known = Known(tau, anchor, Statistics(gram, cross, energy, one), decay, share, ridge)
        new = teach(known, Sample(described, target, weight), self._iterations)
        kept = new.recent
        return new.tau, kept.gram, kept.cross, kept.energy, new.anchor_loss, new.surprise


def _flat(known: Known, sample: Sample) -> dict[str, Tensor]:
    anchor, recent = known.anchor, known.recent
    return {
        "tau": known.tau,
        "described": sample.described,
        "target": sample.target,
        "weight": sample.weight,
        "decay": known.decay,
        "share": known.share,
        "ridge": known.ridge,
        "anchor_gram": anchor.gram,
        "anchor_cross": anchor.cross,
        "anchor_energy": anchor.energy,
        "recent_gram": recent.gram,
        "recent_cross": recent.cross,
        "recent_energy": recent.energy,
    }


def teach_graph(shape: LessonShape, rows: int = 2) -> Graph:
    """The update ready for export."""
    width, described, tokens = shape.width, shape.described, shape.tokens
    gram, cross = torch.zeros(rows, described, described), torch.zeros(rows, width, described)
    one = torch.ones(rows)
    statistics = Statistics(gram, cross, one, one)
    known = Known(cross, statistics, statistics, one, one, torch.ones(1))
    target, weight = torch.zeros(rows, width, tokens), torch.ones(rows, tokens)
    sample = Sample(torch.zeros(1, described, tokens), target, weight)
    return Graph(_Teach(shape.iterations), _flat(known, sample), OUTPUTS)

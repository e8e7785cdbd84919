"""The network's functions and the instance head as ONNX files, written once per content and kept.

Shapes are static; graphs.py lists the files and names their tensors. Besides, what only the rows
that learn go through (ANY_ROWS) is there once more, as NAME_any.onnx, with a free number of rows,
for runtimes that compile for several: in most frames few rows learn.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sam2.modeling.sam2_utils import LayerNorm2d
from torch import Tensor, nn

from models.backbone.memory_bank import BankShape
from models.engines.graphs import PER_ROW, WITHOUT_ROWS, Graph, any_rows, graph_names, graphs
from models.method.cache import cache_root, forget_unused, mark_used, writable
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2

OPSET = 18
REVISION = 7  # of the graphs; a new one makes new files
PART = "part-"
FOLDERS = re.compile(rf"[0-9a-f]{{24}}|{PART}.*")  # names of ours in a cache


def file_names(model: OflSam2, *, rows: bool = True) -> tuple[str, ...]:
    """Every file that `onnx_files` writes, without its ending. rows: see there"""
    if not rows:
        return WITHOUT_ROWS
    names = graph_names(model)
    return (*names, *(f"{name}_any" for name in names if any_rows(name)))


class _Autocast(nn.Module):
    """A function whose products are in bf16; normalisation and outputs are in float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @contextlib.contextmanager
    def precise_norms(self) -> Iterator[None]:
        """On a processor autocast would leave normalisation in bf16, unlike on a GPU."""
        norms = [one for one in self.modules() if isinstance(one, nn.LayerNorm | LayerNorm2d)]
        hooks = [one.register_forward_pre_hook(_in_float32) for one in norms]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            found = self.module(*inputs)
        return tuple(one.float() for one in (found if isinstance(found, tuple) else (found,)))


def _in_float32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)


def export_graph(graph: Graph, path: Path, *, any_rows: bool = False, bf16: bool = False) -> None:
    """Write one ONNX file.

    any_rows: leave the number of rows open
    bf16: products in bf16, normalisation in float32, said by casts in the graph itself; inputs and
    outputs stay as they are
    """
    per_row = [*(name for name in graph.inputs if name in PER_ROW), *graph.outputs]
    cast_graph = _Autocast(graph.module)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if bf16:
            stack.enter_context(cast_graph.precise_norms())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # the tracer's remarks on shapes that are static here
        torch.onnx.export(
            (cast_graph if bf16 else graph.module).eval(),
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={name: {0: "rows"} for name in per_row} if any_rows else None,
        )


def set_rows(model: Any, count: int) -> None:
    """Close the number of rows of an OpenVINO model that leaves it open."""
    per_row = [port for port in model.inputs if port.any_name in PER_ROW]
    if any(port.partial_shape.is_dynamic for port in per_row):
        model.reshape({port: [count, *list(port.partial_shape)[1:]] for port in per_row})


def onnx_files(
    weights: LoadedWeights, shape: BankShape, cache: Path | None = None, *, rows: bool = True
) -> Path:
    """The folder with the files for these weights and this bank, exported if need be.

    cache: where such folders are kept; None: ~/.cache/trocar. If it cannot be written to, a
    temporary folder. A folder is complete or not there: it is renamed into place.
    rows: False for only what an adapted or shipped head needs, in a third of the time
    """
    first, key = cache or cache_root(), _content_key(weights, shape, rows=rows)
    names = file_names(weights.model, rows=rows)
    if not _is_complete(first / key, names):
        first = writable(first)
    folder = first / key
    if _is_complete(folder, names):
        mark_used(folder)
        return folder
    part = Path(tempfile.mkdtemp(prefix=PART, dir=first))
    try:
        for name, graph in graphs(weights.model, shape).items():
            if name in names:
                export_graph(graph, part / f"{name}.onnx")
            if f"{name}_any" in names:
                export_graph(graph, part / f"{name}_any.onnx", any_rows=True)
    except BaseException:
        shutil.rmtree(part)
        raise
    try:
        part.rename(folder)
    except OSError:  # another process was faster: its files say the same
        shutil.rmtree(part)
    forget_unused(first, FOLDERS)
    return folder


def _is_complete(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / f"{name}.onnx").is_file() for name in names)


def _content_key(weights: LoadedWeights, shape: BankShape, *, rows: bool) -> str:
    said: tuple[Any, ...] = (
        weights.sha256, shape.backbone, shape.rows, shape.support, shape.recent,
        torch.__version__, OPSET, REVISION, *(() if rows else WITHOUT_ROWS),
    )  # fmt: skip
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]

"""A small function of a profile, such as its fusion, as a graph on a processor.

The network's functions are files that are kept (onnx_files.py); these are written when a tracker is
opened, since they hold a profile's weights. What they replace ran in torch on one thread, while the
engine's threads had nothing to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.engines.graphs import Graph
from models.engines.onnx_files import export_graph


class CompiledFunction:
    """The function for tensors of the example's shapes, by OpenVINO."""

    def __init__(
        self, function: nn.Module, example: Sequence[Tensor], settings: dict[str, str]
    ) -> None:
        """function: returns a tuple; settings: of OpenVINO"""
        import openvino

        core = openvino.Core()
        inputs = {f"in_{number}": value for number, value in enumerate(example)}
        with torch.no_grad():
            outputs = tuple(f"out_{number}" for number in range(len(function(*example))))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "function.onnx"
            export_graph(Graph(function, inputs, outputs), file)
            compiled = core.compile_model(core.read_model(str(file)), "CPU", settings)
        self._request: Any = compiled.create_infer_request()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Copies of the results, to be kept."""
        return tuple(value.clone() for value in infer(self._request, inputs))


def infer(request: Any, inputs: Iterable[Tensor]) -> list[Tensor]:
    """Results of an OpenVINO request in its own buffers, which its next run overwrites."""
    arrays = [np.ascontiguousarray(value.numpy()) for value in inputs]
    found = request.infer(arrays, share_inputs=True, share_outputs=True)
    return [torch.from_numpy(found[index]) for index in range(len(found))]

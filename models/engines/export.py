"""ONNX files of any backbone, checked: against torch, and for operators that TensorRT has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.backbone.memory_bank import BankShape
from models.backbone.sam2 import Backbone
from models.config import BACKBONES, NANO, BackboneConfig, MemoryConfig
from models.engines.graphs import Graph, graphs
from models.engines.onnx_files import export_graph
from models.errors import EngineError
from models.method.checkpoint import LoadedWeights
from models.method.model import MethodConfig, OflSam2
from models.method.weight_source import WeightSource

OPERATORS = Path(__file__).with_name("tensorrt_operators.txt")


@dataclass(frozen=True)
class Exported:
    """One file. error: largest difference from torch over the largest value, where it was run"""

    path: Path
    error: float | None
    unsupported: tuple[str, ...]


def export_weights(
    backbone: str, size: int | None = None, source: WeightSource | None = None
) -> LoadedWeights:
    """Weights at an input size: the source's; where it has none of an official backbone, random.

    Raises EngineError: no such backbone or size; CheckpointError.
    """
    if backbone not in BACKBONES:
        raise EngineError(f"expected a backbone of {', '.join(BACKBONES)}, got {backbone}")
    config = BACKBONES[backbone]
    if size is not None and (size % 32 or not 64 <= size <= 1024):
        raise EngineError(f"expected an image size from 64 to 1024 in steps of 32, got {size}")
    sized = config if size is None else config.resized(size)
    if config is NANO or (source is not None and source.has(backbone)):
        return _resized((source or WeightSource()).load(backbone), sized)
    return random_weights(sized)


def random_weights(config: BackboneConfig, seed: int = 0) -> LoadedWeights:
    """A network that has learnt nothing; its graph and its speed are those of one which has."""
    torch.manual_seed(seed)
    model = OflSam2(MethodConfig(config)).eval().requires_grad_(False)
    return LoadedWeights(model, config.name, f"random-{config.name}-{seed}", ridge=1e-2)


def _resized(weights: LoadedWeights, config: BackboneConfig) -> LoadedWeights:
    own = weights.model.config
    if own.backbone == config:
        return weights
    backbone = Backbone(config).freeze()
    backbone.load_state_dict(weights.model.backbone.state_dict())
    model = OflSam2(replace(own, backbone=config, heads=()), backbone)
    model.fusion.load_state_dict(weights.model.fusion.state_dict())
    model.instance_head, model.click_head = weights.model.instance_head, weights.model.click_head
    return replace(weights, model=model.eval().requires_grad_(False))


def shape_of(weights: LoadedWeights, classes: int) -> BankShape:
    """The bank of a profile with the usual memory configuration."""
    return BankShape.of(classes, MemoryConfig(), weights.model.config.backbone)


def export(weights: LoadedWeights, classes: int, out: Path, *, check: bool) -> list[Exported]:
    """Write the files, one at a time. check: run each by OpenVINO in f32 beside torch

    Raises EngineError: OpenVINO is missing and a check was asked for.
    """
    out.mkdir(parents=True, exist_ok=True)
    shape = shape_of(weights, classes)
    written = []
    for name, graph in graphs(weights.model, shape).items():
        path = out / f"{name}.onnx"
        export_graph(graph, path)
        error = difference(graph, path) if check else None
        written.append(Exported(path, error, unsupported_operators(path)))
    return written


def unsupported_operators(path: Path) -> tuple[str, ...]:
    """What a file uses that TensorRT does not have, in its own words; empty where all is well."""
    import onnx

    lines = OPERATORS.read_text().splitlines()
    known = {word for line in lines if not line.startswith("#") for word in line.split()}
    found = set()
    for node in onnx.load(path, load_external_data=False).graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            found.add(f"{node.domain}{node.op_type}")
        modes = [one.s for one in node.attribute if one.name == "mode"]
        if node.op_type == "Resize" and modes not in ([b"nearest"], [b"linear"]):
            found.add("Resize other than nearest or linear")
        if node.op_type in ("LayerNormalization", "MaxPool") and len(node.output) > 1:
            found.add(f"{node.op_type} with a second output")
    return tuple(sorted(found))


def difference(graph: Graph, path: Path) -> float:
    """Largest difference from torch over the largest value, the worst of the outputs."""
    try:
        import openvino
    except ImportError as error:
        raise EngineError("expected the package openvino to check files with") from error
    inputs = example_inputs(graph)
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    found = compiled.create_infer_request().infer([one.numpy() for one in inputs.values()])
    with torch.inference_mode():
        expected: Any = graph.module.eval()(*inputs.values())
    wanted = expected if isinstance(expected, tuple) else (expected,)
    return max(_relative(found[index], one) for index, one in enumerate(wanted))


def _relative(found: Any, expected: Tensor) -> float:
    largest = float(expected.abs().max())
    return float(np.abs(np.asarray(found) - expected.numpy()).max()) / max(largest, 1e-12)


def example_inputs(graph: Graph, seed: int = 0) -> dict[str, Tensor]:
    """Inputs that a stream could give: normal numbers, two memories that are not there yet."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for name, like in graph.inputs.items():
        if name == "valid":
            inputs[name] = torch.arange(like.shape[1]).expand(like.shape) < max(
                1, like.shape[1] - 2
            )
        elif name == "time_code":
            inputs[name] = torch.arange(len(like)) % 3
        elif name == "distance":
            inputs[name] = torch.arange(like.shape[1]).expand(like.shape).float() + 1
        elif name == "present":
            inputs[name] = torch.arange(len(like)) % 2 == 0
        else:
            inputs[name] = torch.randn(like.shape, generator=generator)
    return {name: value.contiguous() for name, value in inputs.items()}

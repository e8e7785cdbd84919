"""ONNX files of the official architectures: as torch, and made of what TensorRT has.

CI exports shortened networks of each kind at 256 px, and the whole of TINY; the full sizes take
minutes and are measured by `trocar export --check` (docs/engines.md has the results).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.config import BASE_PLUS, LARGE, SMALL, TINY, BackboneConfig
from models.engines.export import (
    export,
    export_weights,
    random_weights,
    shape_of,
    unsupported_operators,
)
from models.engines.graphs import HEAD, NAMES, graph_names, graphs
from models.engines.onnx_files import export_graph
from models.errors import EngineError
from service.commands.main import main

SHORT = {
    "small": replace(SMALL, stages=(1, 1, 3, 1), global_blocks=(3, 4)),
    "base_plus": replace(BASE_PLUS, stages=(1, 1, 3, 1), global_blocks=(3, 4)),
    "large": replace(LARGE, stages=(1, 1, 3, 1), global_blocks=(3, 4)),
}


@pytest.mark.parametrize("config", [TINY, *SHORT.values()], ids=["tiny", *SHORT])
def test_files_are_as_torch_and_for_tensorrt(config: BackboneConfig, tmp_path: Path) -> None:
    weights = random_weights(config.resized(256))
    written = export(weights, 2, tmp_path, check=True)
    assert {one.path.stem for one in written} == set(graph_names(weights.model))
    for one in written:
        assert one.unsupported == ()
        assert one.error is not None
        assert one.error < 1e-3, one.path.stem


def test_the_command_says_how_near_each_file_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "-o", str(tmp_path), "--classes", "1", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(".onnx")[0].rsplit("/", 1)[-1] for line in lines]
    assert set(names) == {*NAMES, HEAD}
    assert all("of torch" in line for line in lines)


def test_operators_that_tensorrt_lacks_are_told(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 8, 8])
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    nodes = [
        helper.make_node("Det", ["x"], ["d"]),
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="cubic"),
    ]
    graph = helper.make_graph(nodes, "bad", [value], [result], [scales])
    onnx.save(helper.make_model(graph), tmp_path / "bad.onnx")
    found = unsupported_operators(tmp_path / "bad.onnx")
    assert found == ("Det", "Resize other than nearest or linear")


def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "-o", str(tmp_path), "--backbone", "huge"]) == 2
    assert "expected a backbone of nano, tiny" in capsys.readouterr().err
    with pytest.raises(EngineError, match="in steps of 32, got 100"):
        export_weights("nano", 100)


def test_building_needs_tensorrt(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["build-engine", "--size", "64"]) == 2
    assert "engine tensorrt: expected" in capsys.readouterr().err


def test_bf16_is_said_in_the_graph_and_normalisation_stays_precise(tmp_path: Path) -> None:
    """What TensorRT builds from: strongly typed, so that the file decides."""
    import onnx
    from onnx import TensorProto

    weights = export_weights("nano", 64)
    shape = shape_of(weights, 1)
    for name, graph in graphs(weights.model, shape).items():
        path = tmp_path / f"{name}.onnx"
        export_graph(graph, path, bf16=True)
        assert unsupported_operators(path) == ()
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.value_info}
        products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
        known = [kinds[node.output[0]] for node in products if node.output[0] in kinds]
        assert known.count(TensorProto.BFLOAT16) > 0.5 * len(known) > 0, name
        for node in model.graph.node:
            if node.op_type == "LayerNormalization":
                assert kinds.get(node.output[0], TensorProto.FLOAT) == TensorProto.FLOAT
        given = {one.type.tensor_type.elem_type for one in model.graph.output}
        assert TensorProto.BFLOAT16 not in given

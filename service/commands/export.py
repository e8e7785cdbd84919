"""`trocar export` and `trocar build-engine`: the network as ONNX files, and as TensorRT engines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from service.commands.arguments import CHECKPOINT_HELP, classes

EXPORT_ERROR = 1e-3  # largest difference from torch, over the largest value, that is accepted


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands `export` and `build-engine`."""
    parser = commands.add_parser("export", help="the network as ONNX files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="output folder")
    parser.add_argument("--check", action="store_true", help="run each file beside torch")
    parser.set_defaults(command=_export)
    build = commands.add_parser("build-engine", help="TensorRT engines, into the cache")
    build.set_defaults(command=_build_engine)
    for one in (parser, build):
        one.add_argument("--backbone", default="nano", help="nano, tiny, small, base_plus, large")
        one.add_argument("--size", type=int, default=None, help="of the image; default: its own")
        one.add_argument("--classes", type=classes, default=4, help="rows of the batch")
        one.add_argument("--checkpoint", type=Path, help=f"{CHECKPOINT_HELP}, else random ones")


def _export(arguments: argparse.Namespace) -> int:
    from models.engines.export import export, export_weights
    from service.model.weights import weight_source

    source = weight_source(arguments.checkpoint)
    weights = export_weights(arguments.backbone, arguments.size, source)
    if not source.has(arguments.backbone):
        print(f"no weights of {arguments.backbone} are here: random ones", file=sys.stderr)
    code = 0
    for one in export(weights, arguments.classes, arguments.out, check=arguments.check):
        said = "" if one.error is None else f", within {one.error:.1e} of torch"
        if one.unsupported:
            said += f", not for TensorRT: {', '.join(one.unsupported)}"
        if one.unsupported or (one.error or 0) > EXPORT_ERROR:
            code = 1
        print(f"{one.path}: {one.path.stat().st_size / 1e6:.1f} MB{said}")
    return code


def _build_engine(arguments: argparse.Namespace) -> int:
    from models.engines.export import export_weights, shape_of
    from models.engines.gpu.tensorrt_engine import build_engines
    from service.model.weights import weight_source

    source = weight_source(arguments.checkpoint)
    weights = export_weights(arguments.backbone, arguments.size, source)
    print(build_engines(weights, shape_of(weights, arguments.classes)))
    return 0

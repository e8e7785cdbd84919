"""`trocar bench`: its commands and their options. Each imports what it needs when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.commands.arguments import classes, count, size

ENGINES = ("auto", "torch", "onnx", "cuda_graph", "tensorrt")
INTERRUPTED = 130
SMALLEST_IMAGE = 256  # that `scale` begins with
BACKBONES = ("nano", "tiny", "small", "base_plus", "large")


def main(argv: Sequence[str]) -> int:
    """Run one benchmark; without arguments, the short tour. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        kept = "the sizes that were measured are" if command is _gpu else "no result was"
        print(f"\ntrocar: interrupted; {kept} written", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All benchmarks."""
    parser = argparse.ArgumentParser(
        prog="trocar bench",
        description="Without a command: a tour of three minutes at most, printed as one table.",
    )
    parser.add_argument("--json", type=_result_file, help="also write the tour's result here")
    parser.add_argument("--note", default="", help=NOTE)
    parser.set_defaults(command=_tour)
    kinds = parser.add_subparsers(metavar="COMMAND")
    for add in (
        _add_accuracy, _add_embedded, _add_golden, _add_lessons, _add_stages, _add_peers,
        _add_scale, _add_streaming, _add_loopback, _add_in_browser, _add_exactness, _add_steady,
        _add_soak,
        _add_gpu, _add_volumes, _add_report,
    ):  # fmt: skip
        add(kinds)
    return parser


NOTE = "goes into the result: what else was running, say"
Kinds = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(
    kinds: Kinds,  # type: ignore[valid-type]
    name: str,
    help_text: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = kinds.add_parser(name, help=help_text)  # type: ignore[attr-defined]
    parser.set_defaults(command=run)
    return parser


def _add_result(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=_result_file, required=True, help="where to write it")
    parser.add_argument("--note", default="", help=NOTE)


def _add_subject(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", choices=BACKBONES, default="nano")
    parser.add_argument("--image-size", type=_image_size, help="of the network; default: its own")
    parser.add_argument("--classes", type=classes, default=4)
    parser.add_argument("--no-online", action="store_true", help="no online updates")
    parser.add_argument(
        "--learn-all", action="store_true", help="every class learns from every frame, as published"
    )
    parser.add_argument(
        "--instances", action="store_true", help="by the instance head alone, as the demo; NANO"
    )


def _add_accuracy(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "accuracy", "the method and its parts on annotated data", _accuracy)
    parser.add_argument("data", type=Path, help="a folder data set")
    parser.add_argument("--shots", type=count, default=8)
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--json", type=_result_file, required=True, help="where to write it")


def _add_embedded(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "embedded", "the embedded default on unseen phantoms", _embedded)
    parser.add_argument("--procedures", type=count, default=40)
    parser.add_argument("--clips", type=count, default=50)
    parser.add_argument("--json", type=_result_file, required=True, help="where to write it")


def _add_golden(kinds: Kinds) -> None:  # type: ignore[valid-type]
    help_text = "what the tests hold README's claims of accuracy by, measured anew"
    _add_result(_command(kinds, "golden", help_text, _golden))


def _add_stages(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "stages", "what a step takes, engine beside engine", _stages)
    parser.add_argument("--engines", type=_engines, default=("torch", "onnx"), help="with commas")
    parser.add_argument("--frames", type=count, default=300, help="measured, after warm-up")
    parser.add_argument("--size", type=size, default=(480, 640), help="WIDTHxHEIGHT of the picture")
    _add_subject(parser)
    _add_result(parser)


def _add_peers(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "peers", "beside sam2's own video predictor", _peers)
    parser.add_argument("--engines", type=_engines, default=("torch", "onnx"), help="with commas")
    parser.add_argument("--rounds", type=count, default=5, help="each runs everybody in turn")
    parser.add_argument("--frames", type=_of_a_round, default=40, help="of a round")
    _add_subject(parser)
    _add_result(parser)


def _add_scale(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "scale", "as classes, image size, sessions and viewers grow", _scale)
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    parser.add_argument("--seconds", type=count, default=5, help="of each point")
    parser.add_argument("--largest", type=_largest, default=1024, help="image size to end with")
    _add_result(parser)


def _add_streaming(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(
        kinds, "streaming-accuracy", "score of the mask on display when a frame is", _streaming
    )
    parser.add_argument("--engines", type=_engines, default=("torch", "onnx"), help="with commas")
    parser.add_argument("--clips", type=count, default=4)
    parser.add_argument("--seconds", type=count, default=3, help="of each clip")
    _add_result(parser)


def _add_loopback(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "loopback", "capture to decoded pixels over WebRTC", _loopback)
    parser.add_argument("--seconds", type=count, default=20, help="of each phase")
    parser.add_argument("--size", type=_marked, default=(480, 640), help="WIDTHxHEIGHT")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="of the network")
    _add_result(parser)


def _add_in_browser(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "in-browser", "capture to pixels shown in Chromium", _in_browser)
    parser.add_argument("--seconds", type=count, default=30, help="of each view")
    parser.add_argument("--fps", type=count, default=25)
    parser.add_argument("--chromium", default="chromium", help="its program")
    _add_result(parser)


def _add_exactness(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(
        kinds, "exactness", "is each mask on its own frame? burnt in and in Chromium", _exactness
    )
    parser.add_argument("--frames", type=count, default=1000, help="with masks, of each mode")
    parser.add_argument("--size", type=_marked, default=(480, 640), help="WIDTHxHEIGHT")
    parser.add_argument("--chromium", default="chromium", help="its program")
    _add_result(parser)


def _add_steady(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "steady", "does a live session grow, minute by minute?", _steady)
    parser.add_argument("--minutes", type=_minutes, default=10)
    parser.add_argument("--size", type=_marked, default=(480, 640), help="WIDTHxHEIGHT")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="of the network")
    _add_result(parser)


def _add_soak(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "soak", "is step time flat, and memory bounded?", _soak)
    parser.add_argument("--frames", type=_tenths, default=5000)
    parser.add_argument("--engine", choices=ENGINES, default="auto")
    _add_result(parser)


def _add_gpu(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "gpu", "an official backbone on a CUDA device, beside sam2's", _gpu)
    parser.add_argument("--backbone", choices=BACKBONES[1:], default="base_plus")
    parser.add_argument("--frames", type=count, default=300, help="measured, after warm-up")
    parser.add_argument(
        "--untuned", action="store_true", help="compile the predictor in a minute, not in ten"
    )
    _add_result(parser)


def _add_volumes(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "volumes", "fit on a few volumes, test on the others", _volumes)
    parser.add_argument("data", type=Path, help="a data set of volumes, see docs/volumes.md")
    parser.add_argument("--dataset", default="nifti", help="see `trocar data list`")
    parser.add_argument("--volumes", type=count, default=2, help="to fit on")
    parser.add_argument("--seed", type=int, default=0, help="draws them")
    parser.add_argument("--order", choices=("middle-out", "in-order"), default="middle-out")
    parser.add_argument("--no-online", action="store_true", help="no online updates")
    _add_result(parser)


def _add_report(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "report", "a folder of results as one page with plots", _report)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for report.md")


def _tour(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.tour import run_tour

    return run_tour(arguments.json, arguments.note)


def _accuracy(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.accuracy import run_folder

    return run_folder(arguments.data, arguments.shots, arguments.seeds, arguments.json)


def _add_lessons(kinds: Kinds) -> None:  # type: ignore[valid-type]
    parser = _command(kinds, "lessons", "what a frame that a person corrects is worth", _lessons)
    parser.add_argument("--procedures", type=count, default=20)
    parser.add_argument("--json", type=_result_file, help="also write the result here")


def _lessons(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.lessons import run_lessons

    return run_lessons(arguments.procedures, arguments.json)


def _embedded(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.embedded import run_embedded

    return run_embedded(arguments.procedures, arguments.clips, arguments.json)


def _golden(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.golden import run_golden

    return run_golden(arguments.json, arguments.note)


def _stages(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.stages import StagesConfig, run_stages
    from benchmarks.speed.subject import Subject

    config = StagesConfig(
        Subject.of(arguments), arguments.engines, arguments.frames, arguments.size, arguments.note
    )
    return run_stages(config, arguments.json)


def _peers(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.peers import PeersConfig, run_peers
    from benchmarks.speed.subject import Subject

    config = PeersConfig(
        Subject.of(arguments), arguments.engines, arguments.rounds, arguments.frames, arguments.note
    )
    return run_peers(config, arguments.json)


def _scale(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.scale import ScaleConfig, run_scale

    config = ScaleConfig(arguments.engine, arguments.seconds, arguments.largest, arguments.note)
    return run_scale(config, arguments.json)


def _streaming(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.streaming_accuracy import StreamingConfig, run_streaming

    config = StreamingConfig(
        arguments.engines, arguments.clips, arguments.seconds, note=arguments.note
    )
    return run_streaming(config, arguments.json)


def _loopback(arguments: argparse.Namespace) -> int:
    from benchmarks.live.loopback import LoopbackConfig, run_loopback

    config = LoopbackConfig(
        seconds=arguments.seconds,
        size=arguments.size,
        engine=arguments.engine,
        note=arguments.note,
    )
    return run_loopback(config, arguments.json)


def _in_browser(arguments: argparse.Namespace) -> int:
    from benchmarks.live.in_browser import InBrowserConfig, run_in_browser

    config = InBrowserConfig(
        seconds=arguments.seconds,
        fps=arguments.fps,
        chromium=arguments.chromium,
        note=arguments.note,
    )
    return run_in_browser(config, arguments.json)


def _exactness(arguments: argparse.Namespace) -> int:
    from benchmarks.live.exactness import ExactnessConfig, run_exactness

    config = ExactnessConfig(arguments.frames, arguments.size, arguments.chromium, arguments.note)
    return run_exactness(config, arguments.json)


def _steady(arguments: argparse.Namespace) -> int:
    from benchmarks.live.steady import SteadyConfig, run_steady

    config = SteadyConfig(
        arguments.minutes, size=arguments.size, engine=arguments.engine, note=arguments.note
    )
    return run_steady(config, arguments.json)


def _soak(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.soak import run_soak

    return run_soak(arguments.frames, arguments.engine, arguments.json, arguments.note)


def _gpu(arguments: argparse.Namespace) -> int:
    from benchmarks.speed.gpu import GpuConfig, run_gpu

    config = GpuConfig(
        arguments.backbone,
        frames=arguments.frames,
        tuned=not arguments.untuned,
        note=arguments.note,
    )
    return run_gpu(config, arguments.json)


def _volumes(arguments: argparse.Namespace) -> int:
    from benchmarks.quality.volumes import VolumesConfig, run_volumes

    config = VolumesConfig(
        arguments.dataset,
        arguments.data,
        volumes=arguments.volumes,
        seed=arguments.seed,
        order=arguments.order,
        online=not arguments.no_online,
        note=arguments.note,
    )
    return run_volumes(config, arguments.json)


def _report(arguments: argparse.Namespace) -> int:
    from benchmarks.report import write_report

    print(write_report(arguments.folder, arguments.out))
    return 0


def _engines(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in ENGINES]:
        raise argparse.ArgumentTypeError(
            f"expected engines of {', '.join(ENGINES)}, got {unknown[0]!r}"
        )
    return names


def _minutes(text: str) -> int:
    if not text.isdecimal() or int(text) < 3:
        raise argparse.ArgumentTypeError(f"expected three minutes or more, got {text!r}")
    return int(text)


def _tenths(text: str) -> int:
    if not text.isdecimal() or int(text) < 10:
        raise argparse.ArgumentTypeError(f"expected ten frames or more, got {text!r}")
    return int(text)


def _of_a_round(text: str) -> int:
    if not text.isdecimal() or int(text) < 7:  # five warm up, and between two there is one time
        raise argparse.ArgumentTypeError(f"expected seven frames or more, got {text!r}")
    return int(text)


def _image_size(text: str) -> int:
    if not text.isdecimal() or int(text) % 32 or not 64 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a multiple of 32 from 64 to 1024, got {text!r}")
    return int(text)


def _largest(text: str) -> int:
    if (largest := _image_size(text)) < SMALLEST_IMAGE:
        raise argparse.ArgumentTypeError(f"expected {SMALLEST_IMAGE} to 1024, got {text!r}")
    return largest


def _marked(text: str) -> tuple[int, int]:
    """A size with room for the number that each picture carries."""
    from streaming.mark import MARK_HEIGHT, MARK_WIDTH

    height, width = size(text)
    if width < MARK_WIDTH or height < MARK_HEIGHT:
        raise argparse.ArgumentTypeError(
            f"expected {MARK_WIDTH}x{MARK_HEIGHT} at least, for its number, got {text!r}"
        )
    return height, width


def _result_file(text: str) -> Path:
    """A .json that can be written: tried now, and not when all has been measured."""
    path = Path(text)
    if path.is_char_device():  # /dev/null: no result is wanted
        return path
    if path.suffix != ".json" or path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file that ends in .json, got {text!r}")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        part.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise argparse.ArgumentTypeError(f"cannot write {text!r} ({reason})") from error
    return path

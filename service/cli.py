"""The command line. Thin: each command imports what it needs, so that --help is instant."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.arguments import adapt_steps, capacity, count, frame_rate, port, seed, share, size
from service.data_command import CHOICE_HELP, add_data
from service.export_command import add_export
from service.settings import let_threads_sleep
from service.volume_arguments import add_cutting, data_to_fit, only_for_volumes, window_of
from service.weights_command import BACKBONES as OFFICIAL
from service.weights_command import CHECKPOINT_HELP, add_weights

if TYPE_CHECKING:
    from models.adoption import Adoption
    from models.tracker import Tracker

# As in models.engines, which --help does not import.
ENGINES = ("auto", "torch", "onnx", "cuda_graph", "tensorrt")
SOURCE_HELP = "phantom://, rtsp://..., v4l2:///dev/video0, whip:// or a file"
BACKBONES = ("nano", *OFFICIAL)
LEARN_ALL_HELP = "every class learns from every frame at once, not one at a time in instalments"
PROFILE_HELP = "instrument, phantom, or a file that `trocar fit` wrote"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0 done; 2 bad input, with one line on stderr; 130 interrupted, what was written is valid.
    """
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    arguments.rest = rest
    command: Callable[[argparse.Namespace], int] = arguments.command
    if arguments.rest and command not in (_bench, _paper):
        parser.error(f"unrecognized arguments: {' '.join(arguments.rest)}")
    if command is not _bench:  # those of the live service do it, others run beside others' torch
        let_threads_sleep()
    from models.errors import ModelError
    from service.errors import ServiceError
    from streaming.errors import StreamingError

    try:
        return command(arguments)
    except (ModelError, StreamingError, ServiceError) as error:
        print(f"trocar: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error) or type(error).__name__
        print(f"trocar: error: {where}{reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("trocar: interrupted; what was written so far is complete and valid", file=sys.stderr)
        return 130


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="trocar",
        description="Finds surgical instruments in laparoscopic video, live and offline. "
        "Research use only; not a medical device.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_serve,
        _add_segment,
        _add_fit,
        add_data,
        add_weights,
        _add_phantom,
        add_export,
        _add_bench,
        _add_paper,
        _add_pretrain,
    ):
        add(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_serve(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("serve", help="one page with a live overlay")  # type: ignore[attr-defined]
    parser.add_argument("--source", default="phantom://", help=SOURCE_HELP)
    parser.add_argument("--profile", default=None, help=PROFILE_HELP)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, default=8000)
    parser.add_argument("--no-online", action="store_true", help="no online updates")
    parser.add_argument("--gamma", type=share, default=None, help="confidence that teaches")
    parser.add_argument("--learn-all", action="store_true", help=LEARN_ALL_HELP)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="how the network runs")
    parser.add_argument("--once", action="store_true", help="play a recording once, not in a loop")
    parser.add_argument("--sessions", type=count, default=4, help="at once")
    parser.add_argument(
        "--capacity", type=capacity, default=0.9, help="seconds of model a second for all sessions"
    )
    parser.add_argument("--viewers", type=count, default=8, help="of one session at once")
    parser.add_argument("--log", choices=("text", "json"), default="text", help="form of the logs")
    opened = parser.add_argument_group("what sessions opened over HTTP may show, besides rtsp://")
    opened.add_argument("--media", type=Path, metavar="DIR", help="recordings in this folder")
    opened.add_argument("--allow-local-sources", action="store_true", help="rtsp:// of this host")
    opened.add_argument("--allow-devices", action="store_true", help="capture devices")
    parser.add_argument("--record", type=Path, metavar="DIR", help="a folder; video and masks")
    parser.set_defaults(command=_serve)


def _add_segment(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("segment", help="process a recording")  # type: ignore[attr-defined]
    parser.add_argument("input", type=Path, help="a video, a folder of images, or a volume")
    parser.add_argument("-o", "--out", type=Path, required=True, help="output folder")
    parser.add_argument("--profile", default="instrument", help=PROFILE_HELP)
    parser.add_argument("--no-online", action="store_true", help="no online updates")
    parser.add_argument("--gamma", type=share, default=None, help="confidence that teaches")
    parser.add_argument("--learn-all", action="store_true", help=LEARN_ALL_HELP)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="how the network runs")
    parser.add_argument("--force", action="store_true", help="replace earlier results")
    volume = add_cutting(parser)
    volume.add_argument("--order", choices=("middle-out", "in-order"), help="default: middle-out")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.set_defaults(command=_segment)


def _add_fit(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("fit", help="annotated frames in, a profile out")  # type: ignore[attr-defined]
    parser.add_argument("data", type=Path, nargs="+", help="a data set, or volumes with --labels")
    parser.add_argument("--dataset", default="folder", help="its layout, see `trocar data list`")
    parser.add_argument("-c", "--choice", action="append", default=[], help=CHOICE_HELP)
    parser.add_argument("-o", "--out", type=Path, required=True, help="profile.safetensors")
    parser.add_argument(
        "--shots", type=count, default=None, help="use N annotated frames, at most 128 if not given"
    )
    parser.add_argument("--seed", type=seed, default=0)
    volume = add_cutting(parser)
    volume.add_argument("--labels", type=Path, nargs="+", help="a label volume for each volume")
    parser.add_argument("--backbone", choices=BACKBONES, default="nano", help="frozen, of SAM2")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.add_argument(
        "--name-pixels",
        action="store_true",
        help="not instruments: by rows, less often right",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="the one frame shows an instrument a class: follow these",
    )
    parser.add_argument(
        "--adapt",
        type=adapt_steps,
        default="auto",
        metavar="auto|off|steps=N",
        help="train the instance head on the frames, kept where held-out ones gain; default: auto, "
        "off for volumes",
    )
    parser.set_defaults(command=_fit)


def _add_phantom(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("phantom", help="write phantom clips with masks")  # type: ignore[attr-defined]
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=count, default=4)
    parser.add_argument("--frames", type=count, default=50)
    parser.add_argument("--size", type=size, default=(480, 640), help="WIDTHxHEIGHT")
    parser.add_argument("--fps", type=frame_rate, default=25.0)
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--video", action="store_true", help="also write each clip as .mp4")
    parser.add_argument("--force", action="store_true", help="write into a folder with content")
    parser.set_defaults(command=_phantom)


def _add_bench(commands: Commands) -> None:  # type: ignore[valid-type]
    """Its own options are read in benchmarks/cli.py, which only this command imports."""
    parser = commands.add_parser("bench", help="measure", add_help=False)  # type: ignore[attr-defined]
    parser.set_defaults(command=_bench)


def _add_paper(commands: Commands) -> None:  # type: ignore[valid-type]
    """Its own options are read in benchmarks/paper/cli.py, which only this command imports."""
    about = "the paper's protocol on a data set: comparators, ablations, a report"
    parser = commands.add_parser("paper", help=about, add_help=False)  # type: ignore[attr-defined]
    parser.set_defaults(command=_paper)


def _add_pretrain(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = commands.add_parser("pretrain", help="train the embedded backbone")  # type: ignore[attr-defined]
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="run folder, resumed if there"
    )
    parser.add_argument("--start", type=Path, help="begin from these weights, not from random ones")
    parser.add_argument("--find-steps", type=count, default=1500)
    parser.add_argument("--follow-steps", type=count, default=740)
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--seed", type=seed, default=0)
    parser.set_defaults(command=_pretrain)


def _serve(arguments: argparse.Namespace) -> int:
    from service.server import serve
    from service.settings import Settings

    settings = Settings.from_environment(
        source=arguments.source,
        profile=arguments.profile,
        host=arguments.host,
        port=arguments.port,
        online=not arguments.no_online,
        gamma=arguments.gamma,
        learn_all=arguments.learn_all,
        loop=not arguments.once,
        engine=arguments.engine,
        capacity=arguments.capacity,
        log=arguments.log,
        sessions=arguments.sessions,
        viewers=arguments.viewers,
        media=arguments.media,
        local_sources=arguments.allow_local_sources,
        devices=arguments.allow_devices,
        record=arguments.record,
    )
    serve(settings)
    return 0


def _segment(arguments: argparse.Namespace) -> int:
    from models.tracker import Tracker
    from models.volumes.files import is_volume
    from service.offline import SegmentRequest, model_threads, segment
    from service.weights import weight_source

    volume = is_volume(arguments.input)  # a slice is not a frame later: every class learns

    def open_tracker() -> Tracker:
        return Tracker.open(
            arguments.profile,
            online=not arguments.no_online,
            gamma=arguments.gamma,
            threads=model_threads(),
            engine=arguments.engine,
            weights=weight_source(arguments.checkpoint),
            learn_all=arguments.learn_all or volume,
        )

    settings = {
        "profile": Path(arguments.profile).name,
        "online": not arguments.no_online,
        "gamma": arguments.gamma,
        "learn_all": arguments.learn_all or volume,
        "engine": arguments.engine,
    }
    if volume:
        return _segment_volume(arguments, settings, open_tracker)
    only_for_volumes(arguments, "window", "slice_axis", "order")
    request = SegmentRequest(
        source=arguments.input, out=arguments.out, force=arguments.force, settings=settings
    )
    report = segment(request, open_tracker)
    if report["problem"]:
        print(f"trocar: incomplete: {report['problem']}", file=sys.stderr)
    print(f"{report['frames']} frames at {report['processed_fps']:.1f} frames/s -> {arguments.out}")
    return 0


def _segment_volume(
    arguments: argparse.Namespace, settings: dict[str, Any], open_tracker: Callable[[], Tracker]
) -> int:
    from service.segment_volume import VolumeRequest, segment_volume

    request = VolumeRequest(
        source=arguments.input,
        out=arguments.out,
        order=arguments.order or "middle-out",
        axis=arguments.slice_axis,
        window=window_of(arguments),
        force=arguments.force,
        settings=settings,
    )
    report = segment_volume(request, open_tracker)
    rate, labels = report["slices_per_s"], arguments.out / report["labels"]
    print(f"{report['slices']} slices at {rate:.1f} slices/s -> {labels}")
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from models.fit import fit_profile
    from service.weights import weight_source

    weights = weight_source(arguments.checkpoint).load(arguments.backbone)
    report = fit_profile(
        data_to_fit(arguments),
        shots=arguments.shots,
        seed=arguments.seed,
        out=arguments.out,
        weights=weights,
        instances=not arguments.name_pixels,
        follow=arguments.follow,
        adapt=_adapt_steps(arguments),
    )
    known = {name: dsc for name, dsc in report.held_out_dsc.items() if not math.isnan(dsc)}
    for name, dsc in known.items():
        print(f"{name}: DSC on held-out annotated frames {dsc:.3f}")
    if len(known) < len(report.held_out_dsc):
        untested = [name for name in report.held_out_dsc if name not in known]
        print(f"too few annotated frames to hold any out: no DSC of {', '.join(untested)}")
    for name in report.left_out:
        print(f"{name}: never visible in the annotated frames, left out of the profile")
    if arguments.follow and not report.followed:
        print("the embedded head hardly finds these: memories alone follow them", file=sys.stderr)
    _print_adoption(report.adoption)
    if report.by_head:
        print("masks by the parting head alone: memory and mapping network added nothing to it")
    print(f"{report.frames} of {report.annotated} annotated frames -> {arguments.out}")
    return 0


def _adapt_steps(arguments: argparse.Namespace) -> int:
    """Of slices it was not measured, so nobody gets it there who did not ask for it."""
    from models.config import ADAPT_STEPS

    if arguments.adapt is not None:
        return int(arguments.adapt)
    return 0 if arguments.labels else ADAPT_STEPS


def _print_adoption(adoption: Adoption) -> None:
    if not adoption.frames:
        return
    scores = f"DSC on {adoption.frames} held-out frames {adoption.before:.3f}"
    if math.isnan(adoption.after):
        kept = "kept as it is" if adoption.head is None else "adapted, untested"
        print(f"instrument head {kept}: DSC on the one frame before {adoption.before:.3f}")
    elif adoption.head is None:
        print(f"instrument head kept as it is: {scores}, adapted {adoption.after:.3f}")
    else:
        print(f"instrument head adapted: {scores} -> {adoption.after:.3f}")


def _phantom(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.datasets.phantom_folder import PhantomFolderConfig, write_phantom
    from service.output_folder import prepare_output
    from service.phantom_video import PhantomVideos

    prepare_output(arguments.out, force=arguments.force)
    config = PhantomFolderConfig(
        arguments.clips, arguments.frames, arguments.size, arguments.fps, arguments.seed
    )
    videos = PhantomVideos(arguments.out, config) if arguments.video else None
    each = videos.write if videos else None
    total = arguments.clips * arguments.frames
    for _ in tqdm(write_phantom(arguments.out, config, each), total=total, unit="frame"):
        pass
    if videos:
        videos.close()
    print(f"{arguments.clips} clips of {arguments.frames} frames -> {arguments.out}")
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from benchmarks.cli import main as bench

    return bench(arguments.rest)


def _paper(arguments: argparse.Namespace) -> int:
    from benchmarks.paper.cli import main as paper

    return paper(arguments.rest)


def _pretrain(arguments: argparse.Namespace) -> int:
    from models.pretrain import PretrainConfig, pretrain

    pretrain(
        PretrainConfig(
            out=arguments.out,
            start=arguments.start,
            find_steps=arguments.find_steps,
            follow_steps=arguments.follow_steps,
            threads=arguments.threads,
            seed=arguments.seed,
        )
    )
    return 0


def _version(_: argparse.Namespace) -> int:
    from importlib.metadata import version

    print(version("trocar"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line. Thin: each command imports what it needs, so that --help is instant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.commands.arguments import count, frame_rate, seed, size
from service.commands.data import add_data
from service.commands.export import add_export
from service.commands.fit import add_fit
from service.commands.packages import load_command, missing_package
from service.commands.segment import add_segment
from service.commands.serve import add_serve
from service.commands.weights import add_weights
from service.settings import let_threads_sleep


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
    except ModuleNotFoundError as error:
        if (line := missing_package(error)) is None:
            raise
        print(f"trocar: error: {line}", file=sys.stderr)
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
        add_serve,
        add_segment,
        add_fit,
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
    """Its own options are read in benchmarks/cli.py, which only this command loads."""
    parser = commands.add_parser("bench", help="measure", add_help=False)  # type: ignore[attr-defined]
    parser.set_defaults(command=_bench)


def _add_paper(commands: Commands) -> None:  # type: ignore[valid-type]
    """Its own options are read in benchmarks/paper/cli.py, which only this command loads."""
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


def _phantom(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.datasets.phantom_folder import PhantomFolderConfig, write_phantom
    from service.offline.phantom_video import PhantomVideos
    from service.output_folder import prepare_output

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
    return load_command("bench")(arguments.rest)


def _paper(arguments: argparse.Namespace) -> int:
    return load_command("paper")(arguments.rest)


def _pretrain(arguments: argparse.Namespace) -> int:
    from models.training.pretrain import PretrainConfig, pretrain

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

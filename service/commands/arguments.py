"""What the command line takes, each refused in one line that says what was expected."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from models.config import EMBEDDED_PROFILES
from service.errors import UsageError

if TYPE_CHECKING:
    from models.volumes import Window

ENGINES = ("auto", "torch", "onnx", "cuda_graph", "tensorrt")  # as in models.engines
DEINTERLACE = ("auto", "on", "off")  # as in streaming.deinterlace, which --help does not import
DEINTERLACE_HELP = "auto: where pictures say, or show, that they are interlaced"
CHECKPOINT_HELP = "weights of the backbone; else what `trocar weights fetch` brought"
LEARN_ALL_HELP = "every class learns from every frame, not one class at a time"
PROFILE_HELP = f"{', '.join(EMBEDDED_PROFILES)}, or a file that `trocar fit` wrote"


def add_tracker(parser: argparse.ArgumentParser, profile: str | None) -> None:
    """What a command is told that opens a tracker. profile: the usual one"""
    parser.add_argument("--profile", default=profile, help=PROFILE_HELP)
    parser.add_argument(
        "--no-online", dest="online", action="store_false", help="no online updates"
    )
    parser.add_argument("--gamma", type=share, default=None, help="confidence that teaches")
    parser.add_argument("--learn-all", action="store_true", help=LEARN_ALL_HELP)
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="how the network runs")


def add_cutting(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """How a volume is cut into slices; the group, for more."""
    volume = parser.add_argument_group("volumes (.nii, .nii.gz, .mhd, .mha)")
    volume.add_argument(
        "--window", nargs=2, type=float, metavar=("LOW", "HIGH"),
        help="black and white; default: -125 275 for CT, else percentiles",
    )  # fmt: skip
    volume.add_argument(
        "--slice-axis", type=int, choices=(0, 1, 2), help="default: that of the coarsest spacing"
    )
    return volume


def window_of(arguments: argparse.Namespace) -> Window | None:
    """What --window says. Raises VolumeError unless LOW < HIGH."""
    from models.volumes import Window

    return None if arguments.window is None else Window(*arguments.window)


def only_for_volumes(arguments: argparse.Namespace, *options: str) -> None:
    """Raises UsageError when one of these was given for something else."""
    for option in options:
        if getattr(arguments, option) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')} is for volumes (.nii, .nii.gz, .mhd, .mha), "
                "this is none"
            )


MOST_ADAPT_STEPS = 2000  # ten minutes and more on two cores


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def adapt_steps(text: str) -> int | None:
    """auto, off or steps=N -> steps, 0 for none, None for what fits the data."""
    if text in ("auto", "off"):
        return None if text == "auto" else 0
    name, _, number = text.partition("=")
    if name != "steps" or not number.isdecimal() or not 1 <= int(number) <= MOST_ADAPT_STEPS:
        raise argparse.ArgumentTypeError(
            f"expected auto, off or steps=N with N from 1 to {MOST_ADAPT_STEPS}, got {text!r}"
        )
    return int(number)


def classes(text: str) -> int:
    """How many classes; ids are a byte, and two of its values mean something else."""
    from models.types import IGNORE_ID

    if not text.isdecimal() or not 1 <= int(text) < IGNORE_ID:
        raise argparse.ArgumentTypeError(f"expected 1 to {IGNORE_ID - 1} classes, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 takes a free one."""
    if not text.isdecimal() or not 0 <= int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def capacity(text: str) -> float:
    """Seconds of model a second."""
    return _positive(text, 64, "seconds a second")


def frame_rate(text: str) -> float:
    """Frames a second."""
    return _positive(text, 240, "frames a second")


def _number(text: str) -> float:
    """The number, or one that no option takes."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _positive(text: str, largest: float, what: str) -> float:
    value = _number(text)
    if not 0 < value <= largest:
        raise argparse.ArgumentTypeError(f"expected {what} up to {largest:g}, got {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (height, width)"""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 4096 for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT, each from 16 to 4096, got {text!r}"
        )
    return int(parts[1]), int(parts[0])


def sha256(text: str) -> str:
    """A SHA-256 as 64 hexadecimal digits -> in lower case"""
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"expected 64 hexadecimal digits, got {text!r}")
    return text.lower()

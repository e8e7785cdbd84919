"""Options for volumes; models are imported when they are needed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.volumes import Window


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
    from service.errors import UsageError

    for option in options:
        if getattr(arguments, option) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')} is for volumes (.nii, .nii.gz, .mhd, .mha), "
                "this is none"
            )

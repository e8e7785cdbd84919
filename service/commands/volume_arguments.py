"""Options for volumes, and what `trocar fit` is given; models are imported when they are needed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.datasets.sequences import Dataset
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


def data_to_fit(arguments: argparse.Namespace) -> Dataset:
    """What `trocar fit` is given: volumes and their labels, or a data set in one of the layouts.

    A folder with imagesTr and labelsTr needs no --dataset nifti.
    """
    from models.datasets.nifti_folder import is_nifti_folder, open_volumes
    from models.datasets.registry import open_dataset, parse_choices
    from models.volumes.files import is_volume
    from service.errors import UsageError

    first, *more = arguments.data
    if is_volume(first):
        window, axis = window_of(arguments), arguments.slice_axis
        return open_volumes(arguments.data, arguments.labels or (), window=window, axis=axis)
    if more:
        raise UsageError(f"expected one data set, or volumes with --labels, got {more[0]} too")
    only_for_volumes(arguments, "labels")
    choices = parse_choices(arguments.choice)
    name = arguments.dataset
    if name == "folder" and is_nifti_folder(first):
        name = "nifti"
    if name != "nifti":
        only_for_volumes(arguments, "window", "slice_axis")
    if arguments.window is not None:
        choices["window"] = ":".join(map(str, arguments.window))
    if arguments.slice_axis is not None:
        choices["axis"] = arguments.slice_axis
    return open_dataset(name, first, **choices)

"""`trocar fit`: annotated frames or volumes in, a profile out."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.config import ADAPT_STEPS, BACKBONES
from service.commands.arguments import (
    CHECKPOINT_HELP,
    adapt_steps,
    add_cutting,
    count,
    only_for_volumes,
    seed,
    window_of,
)
from service.commands.data import CHOICE_HELP

if TYPE_CHECKING:
    from models.datasets.sequences import Dataset
    from models.fitting.adoption import Adoption


def add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = commands.add_parser("fit", help="annotated frames in, a profile out")
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
        help="not instruments: by the memory path, less often right",
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


def _fit(arguments: argparse.Namespace) -> int:
    from models.fitting.fit import fit_profile
    from service.model.weights import weight_source

    weights = weight_source(arguments.checkpoint).load(arguments.backbone)
    report = fit_profile(
        _data(arguments),
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
    if report.head_alone:
        print("masks by the instance head alone: memory and mapping network added nothing to it")
    print(f"{report.frames} of {report.annotated} annotated frames -> {arguments.out}")
    return 0


def _adapt_steps(arguments: argparse.Namespace) -> int:
    """Of slices it was not measured, so nobody gets it there who did not ask for it."""
    if arguments.adapt is not None:
        return int(arguments.adapt)
    return 0 if arguments.labels else ADAPT_STEPS


def _print_adoption(adoption: Adoption) -> None:
    if not adoption.frames:
        return
    scores = f"DSC on {adoption.frames} held-out frames {adoption.before:.3f}"
    if math.isnan(adoption.after):
        kept = "kept as it is" if adoption.head is None else "adapted, untested"
        print(f"instance head {kept}: DSC on the one frame before {adoption.before:.3f}")
    elif adoption.head is None:
        print(f"instance head kept as it is: {scores}, adapted {adoption.after:.3f}")
    else:
        print(f"instance head adapted: {scores} -> {adoption.after:.3f}")


def _data(arguments: argparse.Namespace) -> Dataset:
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

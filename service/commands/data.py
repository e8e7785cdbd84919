"""`trocar data`: what is in a data set, what is wrong with it, and small ones to try."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.arguments import count, frame_rate, seed, size

if TYPE_CHECKING:
    from models.datasets.summary import Summary

CHOICE_HELP = "how to open it, such as parts=kept; `trocar data list` says what there is"


def add_data(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser("data", help="check annotated data sets, make small ones")
    own = parser.add_subparsers(required=True, metavar="COMMAND")
    check = own.add_parser("check", help="what is in it, what is wrong with it")
    check.add_argument("name", help="see `trocar data list`")
    check.add_argument("root", type=Path)
    check.add_argument("-o", "--out", type=Path, help="a contact sheet with masks, as .png")
    check.add_argument("-c", "--choice", action="append", default=[], help=CHOICE_HELP)
    check.set_defaults(command=_check)
    make = own.add_parser("make", help="write phantom procedures in its layout")
    make.add_argument("name", help="see `trocar data list`")
    make.add_argument("out", type=Path)
    make.add_argument("--sequences", type=count, default=6)
    make.add_argument("--frames", type=count, default=6, help="of a sequence")
    make.add_argument("--procedures", type=count, default=3, help="that share instruments")
    make.add_argument("--fps", type=frame_rate, default=1.0)
    make.add_argument("--size", type=size, default=(270, 480), help="WIDTHxHEIGHT")
    make.add_argument("--seed", type=seed, default=0, help="of the hospital: its instruments")
    make.add_argument("--no-tissue", action="store_true", help="annotate instruments only")
    make.add_argument("--force", action="store_true", help="write into a folder with content")
    make.set_defaults(command=_make)
    own.add_parser("list", help="the data sets and their choices").set_defaults(command=_list)


def _list(_: argparse.Namespace) -> int:
    from models.datasets.registry import LAYOUTS

    for name, layout in LAYOUTS.items():
        print(f"{name:14}{layout.about}")
        for choice, default in layout.choices().items():
            print(f"{'':14}  {choice}={str(default).lower()}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from models.datasets.registry import open_dataset, others_that_open, parse_choices
    from models.datasets.summary import summarize
    from models.errors import DatasetError
    from service.offline.data_sheet import write_sheet

    choices = parse_choices(arguments.choice)
    try:
        dataset = open_dataset(arguments.name, arguments.root, **choices)
    except DatasetError as error:
        others = others_that_open(arguments.name, arguments.root)
        hint = f" (it opens as {' or '.join(others)})" if others else ""
        raise DatasetError(f"{error}{hint}") from error
    summary = summarize(dataset, progress=True)
    if not summary.annotated:
        raise DatasetError(f"{arguments.root}: expected annotated frames, found only frames")
    _print(arguments.name, len(dataset.sequences), summary)
    if arguments.out is not None:
        write_sheet(arguments.out, summary.examples, dataset.classes)
        print(f"{len(summary.examples)} of them -> {arguments.out}")
    return 0


def _print(name: str, sequences: int, summary: Summary) -> None:
    print(
        f"{name}: {sequences} sequences of {summary.groups} groups (patients, videos), "
        f"{summary.frames} frames, {summary.annotated} annotated"
    )
    splits = ", ".join(f"{split} {number}" for split, number in sorted(summary.splits.items()))
    print(f"split, sequences: {splits}")
    sizes = sorted(summary.sizes.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{width}x{height} ({number})" for (height, width), number in sizes[:5])
    print(f"sizes, annotated frames: {shown}{' and others' if len(sizes) > 5 else ''}")
    print(f"{'id':>5}  {'class':32}{'frames':>8}{'pixels':>10}")
    for one in summary.classes:
        never = "   never visible" if one.frames == 0 else ""
        print(
            f"{one.spec.class_id:>5}  {one.spec.name[:31]:32}{one.frames:>8}"
            f"{one.share:>10.2%}{never}"
        )
    if summary.ignored:
        print(f"{'':7}{'ignored':32}{'':8}{summary.ignored:>10.2%}")
    if summary.only_ignored:
        print(
            f"{summary.only_ignored} of {summary.annotated} masks hold 0 and 255 alone: 255 is "
            "ignored here, no class; write the class's id if an instrument is meant"
        )


def _make(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.datasets.phantom_dataset import PhantomSetConfig
    from models.datasets.registry import layout, write_fixture
    from service.output_folder import prepare_output

    layout(arguments.name)
    prepare_output(arguments.out, force=arguments.force)
    config = PhantomSetConfig(
        sequences=arguments.sequences,
        frames=arguments.frames,
        procedures=min(arguments.procedures, arguments.sequences),
        fps=arguments.fps,
        size=arguments.size,
        seed=arguments.seed,
        tissue=not arguments.no_tissue,
    )
    total = config.sequences * config.frames
    frames = 0
    for written in tqdm(write_fixture(arguments.name, arguments.out, config), total=total):
        frames = written
    print(f"{config.sequences} sequences, {frames} frames of phantoms -> {arguments.out}")
    return 0

"""`trocar segment`: a recording or a volume, frame after frame or slice after slice."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.commands.arguments import (
    CHECKPOINT_HELP,
    DEINTERLACE,
    DEINTERLACE_HELP,
    add_cutting,
    add_tracker,
    only_for_volumes,
    window_of,
)

if TYPE_CHECKING:
    from models.tracking.tracker import Tracker


def add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = commands.add_parser("segment", help="process a recording")
    parser.add_argument("input", type=Path, help="a video, a folder of images, or a volume")
    parser.add_argument("-o", "--out", type=Path, required=True, help="output folder")
    add_tracker(parser, "instrument")
    parser.add_argument("--force", action="store_true", help="replace earlier results")
    parser.add_argument("--deinterlace", choices=DEINTERLACE, default=None, help=DEINTERLACE_HELP)
    volume = add_cutting(parser)
    volume.add_argument("--order", choices=("middle-out", "in-order"), help="default: middle-out")
    parser.add_argument("--checkpoint", type=Path, help=CHECKPOINT_HELP)
    parser.set_defaults(command=_segment)


def _segment(arguments: argparse.Namespace) -> int:
    from models.tracking.tracker import Tracker
    from models.volumes.files import is_volume
    from service.errors import UsageError
    from service.model.weights import weight_source
    from service.offline.segment import model_threads

    volume = is_volume(arguments.input)
    if volume and arguments.deinterlace is not None:
        raise UsageError("--deinterlace is for recordings, this is a volume")
    if not volume:
        only_for_volumes(arguments, "window", "slice_axis", "order")
    chosen = {
        "online": arguments.online,
        "gamma": arguments.gamma,
        "engine": arguments.engine,
        "learn_all": arguments.learn_all or volume,  # a slice is not a frame later
    }
    weights = weight_source(arguments.checkpoint)

    def open_tracker() -> Tracker:
        return Tracker.open(arguments.profile, threads=model_threads(), weights=weights, **chosen)

    settings = {"profile": Path(arguments.profile).name, **chosen}
    return (_volume if volume else _recording)(arguments, settings, open_tracker)


def _recording(
    arguments: argparse.Namespace, settings: dict[str, Any], open_tracker: Callable[[], Tracker]
) -> int:
    from service.offline.segment import SegmentRequest, segment

    request = SegmentRequest(
        source=arguments.input,
        out=arguments.out,
        force=arguments.force,
        settings=settings,
        deinterlace=arguments.deinterlace or "auto",
    )
    report = segment(request, open_tracker)
    if report["problem"]:
        print(f"trocar: incomplete: {report['problem']}", file=sys.stderr)
    print(f"{report['frames']} frames at {report['processed_fps']:.1f} frames/s -> {arguments.out}")
    return 0


def _volume(
    arguments: argparse.Namespace, settings: dict[str, Any], open_tracker: Callable[[], Tracker]
) -> int:
    from service.offline.segment_volume import VolumeRequest, segment_volume

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

"""`trocar serve`: its options, which are the settings by their names."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from service.commands.arguments import (
    DEINTERLACE,
    DEINTERLACE_HELP,
    add_tracker,
    capacity,
    count,
    port,
)

SOURCE_HELP = "phantom://, rtsp://..., v4l2:///dev/video0, whip:// or a file"


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = commands.add_parser("serve", help="one page with a live overlay")
    add = parser.add_argument
    add("--source", default="phantom://", help=SOURCE_HELP)
    add_tracker(parser, None)
    add("--host", default="127.0.0.1")
    add("--port", type=port, default=8000)
    add("--once", dest="loop", action="store_false", help="play a recording once, not in a loop")
    add("--sessions", type=count, default=4, help="at once")
    add("--capacity", type=capacity, default=0.9, help="seconds of model a second for all sessions")
    add("--viewers", type=count, default=8, help="of one session at once")
    add("--log", choices=("text", "json"), default="text", help="form of the logs")
    add("--deinterlace", choices=DEINTERLACE, default="auto", help=DEINTERLACE_HELP)
    add("--record", type=Path, metavar="DIR", help="a folder; video and masks")
    opened = parser.add_argument_group("what sessions opened over HTTP may show, besides rtsp://")
    add = opened.add_argument
    add("--media", type=Path, metavar="DIR", help="recordings in this folder")
    add(
        "--allow-local-sources",
        dest="local_sources",
        action="store_true",
        help="rtsp:// of this host",
    )
    add("--allow-devices", dest="devices", action="store_true", help="capture devices")
    parser.set_defaults(command=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from service.http.server import serve
    from service.settings import Settings

    given = vars(arguments)
    names = {one.name for one in fields(Settings)} & given.keys()
    serve(Settings.from_environment(**{name: given[name] for name in names}))
    return 0

"""`trocar weights fetch` and `list`: options and what they say."""

from __future__ import annotations

import argparse
from pathlib import Path

from models.config import BACKBONES, NANO
from service.commands.arguments import sha256

OFFICIAL = tuple(name for name in BACKBONES if name != NANO.name)


def add_weights(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = commands.add_parser("weights", help="official SAM2.1 checkpoints: fetch, list")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    bring = kinds.add_parser("fetch", help="download one, or take it from a file; verified, pinned")
    bring.add_argument("backbone", choices=OFFICIAL)
    bring.add_argument("--from", dest="file", type=Path, metavar="FILE", help="not the network")
    bring.add_argument("--address", metavar="URL", help="folder of a mirror; default: Meta's")
    bring.add_argument("--sha256", type=sha256, help="what it must have; else the first is pinned")
    bring.set_defaults(command=_fetch)
    shown = kinds.add_parser("list", help="what is there, verified")
    shown.set_defaults(command=_list)
    for one in (bring, shown):
        one.add_argument(
            "--to", type=Path, metavar="DIR", help="default: TROCAR_WEIGHTS or a cache"
        )


def _fetch(arguments: argparse.Namespace) -> int:
    from service.commands.weight_store import ADDRESS, FetchRequest, fetch
    from service.model.weights import given_folder

    folder, address = given_folder(arguments.to), arguments.address or ADDRESS
    backbone = arguments.backbone
    digest = fetch(FetchRequest(backbone, folder, arguments.file, address, arguments.sha256))
    print(f"{backbone}: verified, SHA-256 {digest} -> {folder.file(backbone)}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    """0 when every file that is there is as pinned, else 1."""
    from service.commands.weight_store import listed
    from service.model.weights import given_folder

    folder = given_folder(arguments.to)
    rows = listed(folder)
    for row in rows:
        there = f"{row.size / 1e6:.1f} MB  SHA-256 {row.sha256}  {row.problem or 'verified'}"
        print(f"{row.backbone:10} {there if row.sha256 else 'not fetched'}")
    print(f"in {folder.path}")
    return int(any(row.problem for row in rows))

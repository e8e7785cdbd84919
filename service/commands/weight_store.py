"""`trocar weights`: official SAM2.1 checkpoints fetched, verified, pinned and listed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from models.config import BACKBONES
from models.errors import CheckpointError
from models.method.checkpoint import load_official, sha256_of
from models.method.weight_source import OFFICIAL_FILES, WeightFolder
from service.commands.download import download, finish, forget, require_space
from service.errors import FetchError

ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"  # as sam2 at 2b90b9f has it


@dataclass(frozen=True)
class FetchRequest:
    """What to bring where.

    file: a copy that is on this machine already; None downloads
    address: the folder at which a mirror holds the files
    sha256: what the file must have; None takes the pinned one, or pins what comes first
    """

    backbone: str
    folder: WeightFolder
    file: Path | None = None
    address: str = ADDRESS
    sha256: str | None = None
    progress: bool = True


def fetch(request: FetchRequest) -> str:
    """Bring one checkpoint into the folder, whole and verified; returns its SHA-256.

    A file that is there is verified and nothing is fetched. One that came is given its name only
    after its hash was compared, every key and shape loaded strictly, and the hash pinned.
    Raises FetchError, CheckpointError; then neither file nor pin has changed.
    """
    target = request.folder.file(request.backbone)
    expected = _expected(request)
    if target.is_file():
        return _verified_already(target, request, expected)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    if request.file is None:
        url = request.address.rstrip("/") + "/" + target.name
        download(url, part, progress=request.progress)
    else:
        _copy(request.file, part)
    try:
        digest = _verified(part, request, expected)
    except CheckpointError:
        forget(part)  # going on from it would end the same way
        raise
    finish(part, target)
    return digest


def _expected(request: FetchRequest) -> str | None:
    pinned = request.folder.pinned(request.backbone)
    given = request.sha256
    if pinned and given and pinned != given:
        raise FetchError(
            f"{request.backbone} is pinned to SHA-256 {pinned}, --sha256 is {given}: to change it, "
            f"remove its line from {request.folder.path}/sha256.json and its file"
        )
    return given or pinned


def _verified_already(target: Path, request: FetchRequest, expected: str | None) -> str:
    try:
        return _verified(target, request, expected)
    except CheckpointError as error:
        raise FetchError(f"{error}; remove {target} to fetch it again") from error


def _verified(path: Path, request: FetchRequest, expected: str | None) -> str:
    digest = load_official(path, BACKBONES[request.backbone], sha256=expected).sha256
    if request.folder.pinned(request.backbone) is None:
        request.folder.pin(request.backbone, digest)
    return digest


def _copy(source: Path, part: Path) -> None:
    if not source.is_file():
        raise FetchError(f"expected a checkpoint at {source}, found no file")
    require_space(part.parent, source.stat().st_size)
    forget(part)
    try:
        shutil.copyfile(source, part)
    except OSError:
        forget(part)
        raise


@dataclass(frozen=True)
class Listed:
    """One backbone. problem: None where the file is there and is the pinned one"""

    backbone: str
    size: int = 0
    sha256: str | None = None
    problem: str | None = None


def listed(folder: WeightFolder) -> list[Listed]:
    """Every official backbone, each file read and compared with its pin."""
    return [_listed(folder, backbone) for backbone in OFFICIAL_FILES]


def _listed(folder: WeightFolder, backbone: str) -> Listed:
    path, pinned = folder.file(backbone), folder.pinned(backbone)
    if not path.is_file():
        return Listed(backbone)
    digest = sha256_of(path)
    problem = None
    if pinned is None:
        problem = f"not pinned: verify it with `trocar weights fetch {backbone}`"
    elif digest != pinned:
        problem = f"expected SHA-256 {pinned}: remove it and fetch it again"
    return Listed(backbone, path.stat().st_size, digest, problem)

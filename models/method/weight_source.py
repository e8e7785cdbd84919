"""Where the weights of a backbone come from: ours, a named file, or a folder of fetched ones.

A fetched file is known by its name and by its SHA-256, which was pinned in `sha256.json` beside it
when it came; every load compares. Nothing here touches the network: `trocar weights fetch` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from models.config import BACKBONES, NANO
from models.errors import CheckpointError
from models.method.cache import cache_root
from models.method.checkpoint import EMBEDDED, LoadedWeights, load_embedded, load_official

OFFICIAL_FILES = {
    "tiny": "sam2.1_hiera_tiny.pt",
    "small": "sam2.1_hiera_small.pt",
    "base_plus": "sam2.1_hiera_base_plus.pt",
    "large": "sam2.1_hiera_large.pt",
}
PINS = "sha256.json"


FOLDER = cache_root() / "weights"


@dataclass(frozen=True)
class WeightFolder:
    """A folder of official checkpoints under their own names, and the hashes they came with."""

    path: Path = FOLDER

    def file(self, backbone: str) -> Path:
        """Where a backbone's checkpoint is, or would be. Raises CheckpointError: not official."""
        if backbone not in OFFICIAL_FILES:
            names = ", ".join(OFFICIAL_FILES)
            raise CheckpointError(f"expected an official backbone of {names}, got {backbone!r}")
        return self.path / OFFICIAL_FILES[backbone]

    def pinned(self, backbone: str) -> str | None:
        """The SHA-256 that the backbone's file must have; None before the first one came.

        Raises CheckpointError when the pins cannot be read: without them nothing is to be trusted.
        """
        return self._pins().get(self.file(backbone).name)

    def pin(self, backbone: str, sha256: str) -> None:
        """From now on only a file of this hash is that backbone's."""
        pins = self._pins() | {self.file(backbone).name: sha256}
        part = self.path / f"{PINS}.part"
        part.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n")
        part.replace(self.path / PINS)

    def load(self, backbone: str) -> LoadedWeights:
        """Raises CheckpointError: not there, of another hash than pinned, not the architecture."""
        path, expected = self.file(backbone), self.pinned(backbone)
        if expected is None or not path.is_file():
            raise CheckpointError(
                f"expected the weights of {backbone} in {self.path}, found none: get them with "
                f"`trocar weights fetch {backbone}`, or name a file with --checkpoint"
            )
        return load_official(path, BACKBONES[backbone], sha256=expected)

    def _pins(self) -> dict[str, str]:
        path = self.path / PINS
        if not path.is_file():
            return {}
        try:
            pins = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path}: expected JSON with file names and hashes") from error
        if not isinstance(pins, dict) or not all(isinstance(v, str) for v in pins.values()):
            raise CheckpointError(f"{path}: expected JSON with file names and hashes")
        return pins


@dataclass(frozen=True)
class WeightSource:
    """Which weights a backbone's name stands for.

    checkpoint: a file to use instead of what the name finds by itself
    """

    folder: WeightFolder = WeightFolder()
    checkpoint: Path | None = None

    def has(self, backbone: str) -> bool:
        """Would `load` find something?"""
        named = backbone == NANO.name or self.checkpoint is not None
        return named or self.folder.pinned(backbone) is not None

    def load(self, backbone: str) -> LoadedWeights:
        """nano: the embedded weights; an official name: the fetched file of that name.

        Raises CheckpointError: no such backbone, nothing fetched, or not what it should be.
        """
        if backbone not in BACKBONES:
            raise CheckpointError(
                f"expected a backbone of {', '.join(BACKBONES)}, got {backbone!r}"
            )
        if backbone == NANO.name:
            return load_embedded(self.checkpoint or EMBEDDED)
        if self.checkpoint is not None:
            return load_official(self.checkpoint, BACKBONES[backbone])
        return self.folder.load(backbone)

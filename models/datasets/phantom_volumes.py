"""How a phantom body is written in a layout of volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.datasets.phantom_dataset import PhantomSetConfig
from models.volumes.phantom import BodyConfig, PhantomVolume, phantom_volume

WIDTH_MM, LENGTH_MM = 320.0, 240.0  # of the part of the body that is scanned


@dataclass(frozen=True)
class VolumeFixture:
    """The layout's writer, which yields volumes written; how many organs; CT or MR."""

    write: Callable[[Iterable[PhantomVolume], Path], Iterator[int]]
    organs: int
    mr: bool = False

    def write_bodies(self, out: Path, config: PhantomSetConfig) -> Iterator[int]:
        """One volume a sequence, one slice a frame; yields slices written."""
        height, width = config.size
        body = BodyConfig(
            organs=self.organs,
            shape=(width, height, config.frames),
            spacing_mm=(WIDTH_MM / width, WIDTH_MM / width, LENGTH_MM / config.frames),
            mr=self.mr,
        )
        volumes = (phantom_volume(config.seed * 1000 + n, body) for n in range(config.sequences))
        for written in self.write(volumes, out):
            yield written * config.frames

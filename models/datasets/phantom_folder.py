"""Writes phantom clips as a folder data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.datasets.folder import write_classes, write_frame
from models.phantom import CLASSES, Procedure
from models.types import UInt8Array


@dataclass(frozen=True)
class PhantomFolderConfig:
    """clips of one procedure (the seed); size is (height, width); fps frames per second."""

    clips: int = 4
    frames: int = 50
    size: tuple[int, int] = (480, 640)
    fps: float = 25.0
    seed: int = 0


def write_phantom(
    root: Path,
    config: PhantomFolderConfig,
    each_frame: Callable[[int, int, UInt8Array], None] | None = None,
) -> Iterator[int]:
    """Write the data set, yielding the number of frames written so far.

    each_frame: called with clip number, frame number and (H, W, 3) image, for a video beside it
    """
    procedure = Procedure(config.seed)
    root.mkdir(parents=True, exist_ok=True)
    used = tuple(spec for spec in CLASSES if spec.class_id in procedure.kinds)
    write_classes(root, used)
    written = 0
    for number in range(config.clips):
        folder = root / f"clip_{number:03d}"
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        clip = procedure.clip(number, size=config.size)
        for index in range(config.frames):
            frame = clip.render(index / config.fps)
            write_frame(folder, f"{index:06d}", frame.image_rgb, frame.class_mask)
            if each_frame is not None:
                each_frame(number, index, frame.image_rgb)
            written += 1
            yield written

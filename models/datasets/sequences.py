"""What every data set is once opened: annotated sequences whose frames are read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class AnnotatedFrame:
    """One frame; nothing is read or kept until one of its functions is called.

    name: the frame's own within its sequence, as its file is called
    read_image: (H, W, 3) uint8 RGB. Raises DatasetError when the file is not a readable image
    read_mask: (H, W) uint8 class ids of the same size, 0 background, 255 ignore; None where nobody
      annotated the frame. Raises DatasetError when the file is not what its layout promises
    """

    name: str
    read_image: Callable[[], UInt8Array]
    read_mask: Callable[[], UInt8Array] | None


@dataclass(frozen=True)
class AnnotatedSequence:
    """Frames in the order of time, or slices in the order of space.

    group: the patient, procedure or video it comes from; a split never parts a group
    split: "train", "validation" or "test" where the data set publishes one
    spacing_mm: between frames (slices), rows and columns, where the data set knows it
    """

    name: str
    frames: tuple[AnnotatedFrame, ...]
    group: str
    split: str | None = None
    spacing_mm: tuple[float, float, float] | None = None

    def annotated(self) -> list[AnnotatedFrame]:
        """Its frames that have a mask, in order."""
        return [frame for frame in self.frames if frame.read_mask is not None]


@dataclass(frozen=True)
class Dataset:
    """One data set in one folder; ids that occur in its masks are those of its classes."""

    name: str
    root: Path
    classes: tuple[ClassSpec, ...]
    sequences: tuple[AnnotatedSequence, ...]

    def annotated(self) -> list[AnnotatedFrame]:
        """All frames that have a mask, sequence by sequence."""
        return [frame for sequence in self.sequences for frame in sequence.annotated()]

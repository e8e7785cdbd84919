"""A folder of images as an iterator of frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from streaming.errors import SourceError
from streaming.frame import Frame, UInt8Array
from streaming.pictures import TakenAs
from streaming.pixel_aspect import SQUARE

FPS = Fraction(25)
NAMED = 5  # of the files passed over


class ImageFolder:
    """Images as frames at a nominal 25 frames a second, in the order given.

    images: paths; read: turns a path into (H, W, 3) uint8 RGB and raises on unreadable files
    passed_over: names of pictures that are there and cannot be read: what is missing
    """

    pixel_aspect = SQUARE

    def __init__(
        self,
        images: Sequence[Path],
        read: Callable[[Path], UInt8Array],
        passed_over: Sequence[str] = (),
    ) -> None:
        if not images:
            raise SourceError("expected a folder with .png or .jpg images, found none")
        self._images, self._read = list(images), read
        self.problem: str | None = None
        if passed_over:
            count = f"{len(passed_over)} file{'' if len(passed_over) == 1 else 's'}"
            more = ", ..." if len(passed_over) > NAMED else ""
            self.problem = f"{count} passed over: {', '.join(passed_over[:NAMED])}{more}"
        height, width = read(self._images[0]).shape[:2]
        self.size = (height, width)

    @property
    def fps(self) -> Fraction:
        """Nominal frame rate."""
        return FPS

    @property
    def frame_count(self) -> int:
        """Number of images."""
        return len(self._images)

    def taken_as(self) -> TakenAs:
        """Pictures that no video decoder made."""
        return TakenAs()

    def name_of(self, index: int) -> str:
        """The file that a frame is."""
        return self._images[index].name

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order."""
        for index, path in enumerate(self._images):
            image = self._read(path)
            yield Frame(image, index, int(index * 1_000_000_000 / FPS), time.monotonic_ns())

    def close(self) -> None:
        """Nothing to release."""

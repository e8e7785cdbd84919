"""Writes the phantom's clips as videos beside its frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from models.datasets.phantom_folder import PhantomFolderConfig
from models.types import UInt8Array
from streaming.video_writer import VideoWriter


class PhantomVideos:
    """One video per clip, opened with its first frame."""

    def __init__(self, root: Path, config: PhantomFolderConfig) -> None:
        self._root, self._config = root, config
        self._clip = -1
        self._writer: VideoWriter | None = None

    def write(self, clip: int, index: int, image_rgb: UInt8Array) -> None:
        """Append a frame; a new clip number finishes the previous video."""
        if clip != self._clip:
            self.close()
            rate = Fraction(self._config.fps).limit_denominator(1001)
            path = self._root / f"clip_{clip:03d}.mp4"
            self._writer, self._clip = VideoWriter(path, self._config.size, rate), clip
        assert self._writer is not None
        self._writer.write(image_rgb, int(index / self._config.fps * 1e9))

    def close(self) -> None:
        """Finish the current video."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

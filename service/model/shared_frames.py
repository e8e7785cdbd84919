"""Shared memory through which frames and class maps cross, and both of its ends."""

from __future__ import annotations

import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from models.types import UInt8Array

SHARED = Path("/dev/shm")  # where shared memory is a file


class FrameWriter:
    """The service's end: one memory, replaced by a larger one where a frame needs it."""

    def __init__(self) -> None:
        self._memory: SharedMemory | None = None

    def write(self, image_rgb: UInt8Array) -> str:
        """The memory's name, with the frame in it and room for its class map. Raises OSError."""
        height, width = image_rgb.shape[:2]
        memory = self._room_for(image_rgb.nbytes + height * width)
        np.ndarray(image_rgb.shape, np.uint8, memory.buf)[:] = image_rgb
        return memory.name

    def class_map(self, shape: tuple[int, int]) -> UInt8Array:
        """A copy of what the model wrote behind a frame of (H, W)."""
        assert self._memory is not None
        height, width = shape
        return np.ndarray(shape, np.uint8, self._memory.buf, height * width * 3).copy()

    def free(self) -> None:
        """Give the memory back; may be called twice."""
        if self._memory is not None:
            self._memory.close()
            self._memory.unlink()
            self._memory = None

    def _room_for(self, size: int) -> SharedMemory:
        if self._memory is None or self._memory.size < size:
            self.free()
            self._memory = _reserved(size)
        return self._memory


class FrameReader:
    """The model's end."""

    def __init__(self) -> None:
        self._memory: SharedMemory | None = None

    def read(self, name: str, shape: tuple[int, int, int]) -> tuple[UInt8Array, UInt8Array]:
        """A copy of the frame, and where its class map goes. (H, W, 3), (H, W)"""
        memory = self._memory
        if memory is None or memory.name != name:
            if memory is not None:
                memory.close()
            memory = self._memory = SharedMemory(name)
        image: UInt8Array = np.ndarray(shape, np.uint8, memory.buf)
        return image.copy(), np.ndarray(shape[:2], np.uint8, memory.buf, image.nbytes)


def _reserved(size: int) -> SharedMemory:
    """Raises OSError where there is not enough: writing would end this process by a signal."""
    memory = SharedMemory(create=True, size=size)
    file = SHARED / memory.name
    try:
        if file.exists():
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, size)
    except OSError:
        memory.close()
        memory.unlink()
        raise
    return memory

"""What a stream remembers of its classes, in buffers of fixed size.

Positions 0..K-1 of a row are annotated frames that stay; K.. are its recent confident frames, the
newest first, so that a position's time code never changes. A row moves on only when its own class
was confident. Nothing is allocated after construction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.backbone.memory_attention import BankTensors
from models.config import BackboneConfig, MemoryConfig

_VERSIONS = itertools.count()  # of rows' memories, never the same twice, whichever the bank


@dataclass(frozen=True)
class Entries:
    """Memory entries: memory (N, M, h, w) and object pointer (N, D)."""

    memory: Tensor
    pointer: Tensor


@dataclass(frozen=True)
class BankShape:
    """Rows C, support entries K, recent entries R, and the backbone they belong to."""

    rows: int
    support: int
    recent: int
    backbone: BackboneConfig

    @classmethod
    def of(cls, rows: int, memory: MemoryConfig, backbone: BackboneConfig) -> BankShape:
        """The shape that a memory configuration gives."""
        return cls(rows, memory.support, memory.recent_for(backbone), backbone)


class MemoryBank:
    """Memories and object pointers of C class rows; see the module's docstring."""

    def __init__(
        self, shape: BankShape, max_distance: int, device: torch.device | None = None
    ) -> None:
        self._shape, self._max_distance = shape, max_distance
        backbone, entries = shape.backbone, shape.support + shape.recent
        grid = backbone.grid
        held = (shape.rows, entries)
        self._memory = torch.zeros(*held, backbone.memory_width, grid, grid, device=device)
        self._pointer = torch.zeros(*held, backbone.model_width, device=device)
        self._frame = torch.zeros(held, dtype=torch.long, device=device)
        self._valid = torch.zeros(held, dtype=torch.bool, device=device)
        codes = [backbone.memories - 1] * shape.support + list(range(shape.recent))
        self._time_code = torch.tensor(codes, device=device)
        self._version = [0] * shape.rows
        self._full = False
        self._changed(range(shape.rows))

    @property
    def nbytes(self) -> int:
        """Bytes held, whatever the length of the stream."""
        held = (self._memory, self._pointer, self._frame, self._valid, self._time_code)
        return sum(t.numel() * t.element_size() for t in held)

    def set_support(self, row: int, entries: Entries) -> None:
        """The row's annotated frames, at most K. entries: of n <= K frames"""
        count = len(entries.memory)
        self._memory[row, :count] = entries.memory
        self._pointer[row, :count] = entries.pointer
        self._valid[row, : self._shape.support] = False
        self._valid[row, :count] = True
        self._changed([row])

    def tensors(self, frame: int) -> BankTensors:
        """The bank as seen from frame number `frame`."""
        distance = (frame - self._frame).float().clamp(1, self._max_distance)
        distance[:, : self._shape.support] = self._max_distance
        held = (self._memory, self._pointer, self._time_code, distance, self._valid)
        return BankTensors(*held, tuple(self._version), self._full)

    def push(self, rows: Tensor, entries: Entries, frame: int) -> None:
        """Remember a confident frame. rows: (n,) long; entries: of those n rows"""
        if len(rows) == 0 or self._shape.recent == 0:
            return
        first = self._shape.support
        for buffer, newest in (
            (self._memory, entries.memory),
            (self._pointer, entries.pointer),
            (self._frame, torch.full_like(rows, frame)),
            (self._valid, torch.ones_like(rows, dtype=torch.bool)),
        ):
            kept = buffer[rows, first:-1].clone()
            buffer[rows, first] = newest
            buffer[rows, first + 1 :] = kept
        self._changed(rows.tolist())

    def forget_recent(self) -> None:
        """Only the annotated frames remain."""
        self._valid[:, self._shape.support :] = False
        self._full = False

    def snapshot(self) -> tuple[Tensor, ...]:
        """A copy of the recent part."""
        first = self._shape.support
        held = (self._memory, self._pointer, self._frame, self._valid)
        return tuple(buffer[:, first:].clone() for buffer in held)

    def restore(self, snapshot: tuple[Tensor, ...]) -> None:
        """Bring a snapshot back."""
        held = (self._memory, self._pointer, self._frame, self._valid)
        for buffer, saved in zip(held, snapshot, strict=True):
            buffer[:, self._shape.support :] = saved
        self._changed(range(self._shape.rows))

    def _changed(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._version[row] = next(_VERSIONS)
        self._full = bool(self._valid.all())

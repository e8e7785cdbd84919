"""Keys of a stream's memories, kept as long as the memories are the same.

A key holds a memory's content, place and age in the ring, and no frame: of C rows one at most has
new memories in a frame, and projecting all of them anew was a fifth of memory attention. Object
pointers are few. They age with every frame until their age is clamped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.backbone.memory_attention import BankTensors, PlacedTokens
from models.backbone.memory_bank import BankShape
from models.backbone.sam2 import Backbone

Place = Callable[[Tensor, Tensor], PlacedTokens]  # see Backbone.place_memories


class KeyCache:
    """Tokens and keys of one bank at a time, in buffers of fixed size."""

    def __init__(self, backbone: Backbone, shape: BankShape, place: Place) -> None:
        """place: does Backbone.place_memories for 1 to C rows"""
        config, entries = backbone.config, shape.support + shape.recent
        self._backbone, self._place = backbone, place
        self._memories = entries * config.grid**2  # tokens; those of pointers come after them
        count = self._memories + entries * (config.model_width // config.memory_width)
        self._kept = PlacedTokens(
            torch.zeros(shape.rows, count, config.memory_width),
            tuple(
                torch.zeros(shape.rows, count, config.model_width)
                for _ in range(config.attention_layers)
            ),
        )
        self._version: list[int | None] = [None] * shape.rows
        self._distance: Tensor | None = None  # that the pointers' keys were made with

    def refresh(self, bank: BankTensors) -> None:
        """Place the memories that have changed. bank: (C, E) entries"""
        versions = bank.version or (None,) * len(bank.memory)
        pairs = enumerate(zip(versions, self._version, strict=True))
        stale = [row for row, (now, kept) in pairs if now is None or now != kept]
        if not stale:
            return
        every = len(stale) == len(versions)
        memory = bank.memory if every else bank.memory[stale]
        self._fill(stale, slice(None, self._memories), self._place(memory, bank.time_code))
        for row in stale:
            self._version[row] = versions[row]
        self._distance = None

    def of(self, bank: BankTensors) -> PlacedTokens:
        """Memories and pointers of the bank; until the next call."""
        self.refresh(bank)
        if self._distance is None or not torch.equal(self._distance, bank.distance):
            rows = list(range(len(bank.pointer)))
            pointers = self._backbone.place_pointers(bank.pointer, bank.distance)
            self._fill(rows, slice(self._memories, None), pointers)
            self._distance = bank.distance
        return self._kept

    def _fill(self, rows: list[int], span: slice, placed: PlacedTokens) -> None:
        kept = (self._kept.tokens, *self._kept.keys)
        for buffer, new in zip(kept, (placed.tokens, *placed.keys), strict=True):
            buffer[rows, span] = new

"""Keys kept between frames: never those of other memories, and no more work than there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.backbone.memory_attention import PlacedTokens
from models.backbone.memory_bank import BankShape, Entries, MemoryBank
from models.backbone.sam2 import Backbone
from models.engines.export import export_weights
from models.engines.key_cache import KeyCache
from models.engines.openvino_engine import OpenVinoEngine

SMALL = export_weights("nano", 64)
SHAPE = BankShape(rows=3, support=2, recent=3, backbone=SMALL.model.config.backbone)


def entries(count: int) -> Entries:
    config = SHAPE.backbone
    memory = torch.randn(count, config.memory_width, config.grid, config.grid)
    return Entries(memory, torch.randn(count, config.model_width))


def filled() -> MemoryBank:
    bank = MemoryBank(SHAPE, max_distance=15)
    for row in range(SHAPE.rows):
        bank.set_support(row, entries(2))
    return bank


@torch.inference_mode()
def test_attention_is_torchs_whatever_happens_to_the_bank(tmp_path: Path) -> None:
    engine, backbone = OpenVinoEngine(SMALL, SHAPE, "f32", tmp_path), SMALL.model.backbone
    stride16 = torch.randn(1, SHAPE.backbone.model_width, 4, 4)
    bank = filled()

    def agrees(frame: int, bank: MemoryBank) -> None:
        torch.testing.assert_close(
            engine.attend_memory(stride16, bank.tensors(frame)),
            backbone.attend_memory(stride16, bank.tensors(frame)),
            atol=1e-4,
            rtol=1e-4,
        )

    agrees(0, bank)
    bank.push(torch.tensor([1]), entries(1), 0)
    agrees(1, bank)
    saved = bank.snapshot()
    for frame in range(1, 6):
        bank.push(torch.tensor([0, 2]), entries(2), frame)
        engine.memories_changed(bank.tensors(frame))
        agrees(frame + 1, bank)
    bank.restore(saved)
    agrees(7, bank)
    bank.forget_recent()
    agrees(8, bank)
    agrees(1, filled())  # another stream's
    agrees(8, bank)
    bank.set_support(0, entries(1))
    agrees(9, bank)


@pytest.mark.parametrize("known", [True, False])
def test_only_what_has_changed_is_placed_anew(known: bool) -> None:
    backbone: Backbone = SMALL.model.backbone
    placed: list[int] = []

    def place(memory: Tensor, time_code: Tensor) -> PlacedTokens:
        placed.append(len(memory))
        return backbone.place_memories(memory, time_code)

    cache, bank = KeyCache(backbone, SHAPE, place), filled()

    def segment(frame: int) -> None:
        tensors = bank.tensors(frame)
        cache.of(tensors if known else replace(tensors, version=None))

    with torch.inference_mode():
        segment(0)
        segment(1)
        bank.push(torch.tensor([2]), entries(1), 1)
        segment(2)
        segment(3)
    assert placed == ([3, 1] if known else [3, 3, 3, 3])

"""The memory bank: fixed size, supports stay, the newest comes first."""

from __future__ import annotations

import torch

from models.backbone.memory_bank import BankShape, Entries, MemoryBank
from models.config import NANO

SHAPE = BankShape(rows=2, support=2, recent=3, backbone=NANO)


def entries(rows: int, value: float) -> Entries:
    memory = torch.full((rows, NANO.memory_width, NANO.grid, NANO.grid), value)
    return Entries(memory, torch.full((rows, NANO.model_width), value))


def bank() -> MemoryBank:
    made = MemoryBank(SHAPE, max_distance=15)
    made.set_support(0, entries(2, -1.0))
    made.set_support(1, entries(1, -1.0))
    return made


def test_starts_with_supports_only() -> None:
    tensors = bank().tensors(0)
    assert tensors.valid.tolist() == [[True, True, False, False, False], [True] + [False] * 4]
    assert tensors.time_code.tolist() == [NANO.memories - 1] * 2 + [0, 1, 2]


def test_newest_first_and_supports_stay() -> None:
    subject = bank()
    for frame in range(10):
        subject.push(torch.tensor([0, 1]), entries(2, float(frame)), frame)
    tensors = subject.tensors(10)
    assert tensors.memory[0, :, 0, 0, 0].tolist() == [-1, -1, 9, 8, 7]
    assert tensors.distance[0].tolist() == [15, 15, 1, 2, 3]


def test_a_row_moves_on_alone() -> None:
    subject = bank()
    subject.push(torch.tensor([1]), entries(1, 5.0), 3)
    tensors = subject.tensors(4)
    assert tensors.valid[0].tolist() == [True, True, False, False, False]
    assert tensors.valid[1].tolist() == [True, False, True, False, False]


def test_distance_is_clamped_to_the_trained_range() -> None:
    subject = bank()
    subject.push(torch.tensor([0]), entries(1, 5.0), 0)
    assert float(subject.tensors(100_000).distance.max()) == 15


def test_size_never_changes_and_snapshots_restore() -> None:
    subject = bank()
    before = subject.nbytes
    subject.push(torch.tensor([0]), entries(1, 1.0), 0)
    snapshot = subject.snapshot()
    for frame in range(1, 1000):
        subject.push(torch.tensor([0]), entries(1, float(frame)), frame)
    assert subject.nbytes == before
    subject.restore(snapshot)
    assert subject.tensors(2).memory[0, 2, 0, 0, 0] == 1.0
    subject.forget_recent()
    assert not subject.tensors(2).valid[:, 2:].any()

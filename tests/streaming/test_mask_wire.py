"""The mask message: what is written is read back, it fits, and bad bytes are refused."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from models.types import UInt8Array
from streaming.mask_wire import LARGEST, MaskMessageError, read_mask, write_mask


def blobs(size: tuple[int, int], seed: int = 0) -> UInt8Array:
    """A few round regions. (H, W)"""
    generator, classes = np.random.default_rng(seed), np.zeros(size, np.uint8)
    for class_id in (1, 2, 7, 255):
        x, y = generator.integers(0, (size[1], size[0]))
        cv2.circle(classes, (int(x), int(y)), max(1, min(size) // 6), class_id, -1)
    return classes


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (97, 131), (240, 320)])
def test_a_small_mask_is_read_back_exactly(size: tuple[int, int]) -> None:
    classes = blobs(size)
    message = write_mask(classes, stamp=5, index=6)
    read = read_mask(message.stamped(0xFFFFFFFE))
    assert np.array_equal(read.grid, classes)
    assert read.rtp_timestamp == 0xFFFFFFFE
    assert read.index == 6
    assert read.class_ids == tuple(sorted(set(classes.ravel().tolist()) - {0}))


def test_the_layout_is_the_documented_one() -> None:
    classes = np.zeros((2, 200), np.uint8)
    classes[0, 3:5] = 9
    message = write_mask(classes, stamp=1, index=0x01020304)
    head = b"TM\x01\x00" + struct.pack("<I", 77) + b"\x04\x03\x02\x01" + b"\xc8\x00\x02\x00"
    assert message.stamped(77) == head + b"\x01\x09" + b"\x00\x03\x09\x02\x00\x8b\x03"


def test_a_large_mask_is_scaled_and_lies_where_it_was() -> None:
    classes = np.zeros((1080, 1920), np.uint8)
    classes[540:810, 960:1440] = 3
    message = write_mask(classes, stamp=0, index=0)
    grid = read_mask(message.body).grid
    assert grid.shape == (180, 320)
    expected = np.zeros((180, 320), np.uint8)
    expected[90:135, 160:240] = 3
    assert np.array_equal(grid, expected)


def test_a_message_that_would_be_too_large_gets_a_coarser_grid() -> None:
    generator = np.random.default_rng(0)
    busy = np.kron(generator.integers(0, 6, (120, 160)) == 0, np.ones((4, 4))).astype(np.uint8)
    message = write_mask(busy, stamp=0, index=0)
    assert len(message.body) <= LARGEST
    assert read_mask(message.body).grid.shape == (120, 160)
    worst = np.arange(1000 * 1000, dtype=np.uint64).astype(np.uint8).reshape(1000, 1000)
    message = write_mask(worst, stamp=0, index=0)
    assert len(message.body) <= LARGEST, "every pixel differs from the one before it"
    assert read_mask(message.body).grid.shape == (80, 80)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"TM\x01",
        b"XX\x01\x00" + bytes(20),
        b"TM\x02\x00" + bytes(20),
        b"TM\x01\x00" + bytes(8) + b"\x02\x00\x01\x00\x00" + b"\x00",
        b"TM\x01\x00" + bytes(8) + b"\x02\x00\x01\x00\x00" + b"\x00\x03",
        b"TM\x01\x00" + bytes(8) + b"\x02\x00\x01\x00\x00" + b"\x00\x80\x80\x80\x80\x01",
    ],
)
def test_what_is_no_message_is_refused(broken: bytes) -> None:
    with pytest.raises(MaskMessageError, match="expected"):
        read_mask(broken)

"""The live benchmark measures what it says: numbers read from pixels, times of one clock."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from benchmarks.live.loopback import LoopSource, _latencies
from benchmarks.live.relay import Relay
from benchmarks.live.remote_viewers import Seen, remote_viewers
from benchmarks.quality.signed import (
    SigningModel,
    mask_in_picture,
    number_of_mask,
    numbered_picture,
)
from streaming.overlay import draw_overlay


async def test_latency_is_measured_from_capture_to_pixels_in_another_process() -> None:
    """Every frame's number is read back, and none was decoded before it was captured."""
    pictures = [numbered_picture(number, (120, 256)) for number in range(4)]
    source = LoopSource(pictures, fps=20)
    relay = Relay(source)
    try:
        async with remote_viewers(relay.answer) as viewers:
            end = time.monotonic() + 30
            while len(source.captured_ns) < 40:
                assert time.monotonic() < end
                await asyncio.sleep(0.1)
            (seen,) = await viewers.finish()
    finally:
        await relay.close()
    assert len(seen.pictures) > 5
    numbers = [number for number, _ in seen.pictures]
    assert numbers == sorted(set(numbers))
    assert all(decoded > source.captured_ns[number] for number, decoded in seen.pictures)
    found = _latencies(seen, source.captured_ns, begin=0)
    assert found["n"] == len(seen.pictures)
    assert 0 < found["p50"] <= found["p95"] <= found["max"]


def test_frames_that_were_never_seen_are_counted() -> None:
    captured_ns = {number: 1_000_000 * number for number in range(1, 11)}
    seen = Seen([(number, 1_000_000 * number + 5_000_000) for number in (4, 5, 7, 9)])
    found = _latencies(seen, captured_ns, begin=4_000_000)
    assert found["p50"] == found["max"] == 5
    assert (found["n"], found["frames_captured"], found["frames_not_seen"]) == (3, 5, 2)


def test_a_model_that_signs_is_read_back_from_mask_and_from_pixels() -> None:
    for number in (0, 1, 4711, 65535):
        image = numbered_picture(number, (240, 320))
        mask = SigningModel().segment(image).class_map
        assert number_of_mask(mask) == number
        drawn = draw_overlay(image, mask, {1: (0, 255, 0)})
        assert number_of_mask(mask_in_picture(drawn)) == number
    assert number_of_mask(np.zeros((240, 320), np.uint8)) is None

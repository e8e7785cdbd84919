"""Encoded once, handed to many: who joins, who stalls, who loses a packet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from models.types import UInt8Array
from streaming.encoding import CLOCK, Encoded, Vp8Encoder, bitrate, i420_planes, rtp_stamp
from streaming.mark import draw_mark, read_mark
from streaming.rendition import WAITING, Picture, Rendition
from streaming.slot import SlotClosedError

PATIENCE_S = 20


def picture(number: int, size: tuple[int, int] = (96, 256)) -> UInt8Array:
    image = np.full((*size, 3), 90, np.uint8)
    draw_mark(image, number)
    return image


@dataclass
class Stage:
    """A rendition and what it reports."""

    sent: list[Picture] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rendition = Rendition("test", self._note)
        self.number = 0
        self._done = asyncio.Event()

    def _note(self, shot: Picture) -> None:
        self.sent.append(shot)
        self._done.set()

    def show(self, draw: Callable[[], UInt8Array] | None = None) -> int:
        """Offer the next picture; returns its number."""
        self.number += 1
        number = self.number
        captured_ns = 10**15 + number * 40_000_000
        self.rendition.show(Picture(draw or (lambda: picture(number)), captured_ns, number))
        return number

    async def show_and_wait(self, draw: Callable[[], UInt8Array] | None = None) -> None:
        """Offer the next picture and wait until it is out."""
        self._done.clear()
        self.show(draw)
        await asyncio.wait_for(self._done.wait(), PATIENCE_S)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.rendition.close()
    await stage.rendition.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


class Decoder:
    """Reads the numbers back from what one viewer got."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("vp8", "r")

    def number(self, coded: Encoded) -> int | None:
        packet = av.Packet(coded.data)
        packet.pts, packet.time_base = coded.stamp, Fraction(1, CLOCK)
        (frame,) = self._codec.decode(packet)
        return read_mark(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))


async def test_one_encoding_serves_every_viewer(stage: Stage) -> None:
    watchers = [stage.rendition.watch() for _ in range(8)]
    decoders = [Decoder() for _ in watchers]
    for _ in range(5):
        gets = [asyncio.create_task(watcher.get()) for watcher in watchers]
        await asyncio.sleep(0)
        number = stage.show()
        got = await asyncio.wait_for(asyncio.gather(*gets), PATIENCE_S)
        assert all(one is got[0] for one in got), "the very same packet"
        assert [d.number(one) for d, one in zip(decoders, got, strict=True)] == [number] * 8
    assert stage.rendition.encoded == 5
    assert stage.rendition.keyframes == 1
    assert [shot.index for shot in stage.sent] == [1, 2, 3, 4, 5]


async def test_nothing_is_drawn_or_encoded_while_nobody_watches(stage: Stage) -> None:
    stage.show(lambda: pytest.fail("drawn for nobody"))
    watcher = stage.rendition.watch()
    await stage.show_and_wait()
    stage.rendition.leave(watcher)
    stage.rendition.leave(watcher)
    stage.show(lambda: pytest.fail("drawn for nobody"))
    assert stage.rendition.encoded == 1
    assert len(stage.sent) == 3, "the frames' way is counted all the same"
    assert (await watcher.get()).index == 2
    with pytest.raises(SlotClosedError):
        await watcher.get()


async def test_a_stalled_viewer_delays_nobody_and_comes_back_with_a_keyframe(stage: Stage) -> None:
    stalled, live = stage.rendition.watch(), stage.rendition.watch()
    decoder, late = Decoder(), Decoder()
    shown = []
    for _ in range(30):
        await stage.show_and_wait()
        shown.append(decoder.number(await live.get()))
    assert shown == list(range(1, 31)), "the live one got every picture, in order"
    assert stage.rendition.keyframes == 1, "the stalled one cost no keyframe while it slept"
    assert stalled.dropped == 30
    waiting = asyncio.create_task(stalled.get())
    await asyncio.sleep(0)
    stage.rendition._keyframe_at = 0.0
    await stage.show_and_wait()
    back = await asyncio.wait_for(waiting, PATIENCE_S)
    assert back.keyframe
    assert late.number(back) == 31
    assert stage.rendition.keyframes == 2


async def test_a_viewer_that_is_a_little_behind_loses_nothing(stage: Stage) -> None:
    watcher, decoder = stage.rendition.watch(), Decoder()
    for _ in range(WAITING):
        await stage.show_and_wait()
    assert [decoder.number(await watcher.get()) for _ in range(WAITING)] == [1, 2, 3, 4]
    assert watcher.dropped == 0


async def test_many_requests_make_one_keyframe_and_not_too_often(stage: Stage) -> None:
    watcher = stage.rendition.watch()
    await stage.show_and_wait()
    for _ in range(8):
        stage.rendition.ask_keyframe()
    began = time.monotonic()
    while stage.rendition.keyframes < 2:
        assert time.monotonic() - began < PATIENCE_S
        await stage.show_and_wait()
    assert (await watcher.get()).keyframe, "older pictures are not worth sending any more"
    for _ in range(5):
        await stage.show_and_wait()
    assert stage.rendition.keyframes == 2


async def test_what_cannot_be_drawn_ends_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    watcher, decoder = stage.rendition.watch(), Decoder()
    await stage.show_and_wait()
    assert decoder.number(await watcher.get()) == 1
    for _ in range(3):
        stage.show(lambda: 1 / 0)  # type: ignore[return-value, arg-type]
        await until(lambda: stage.rendition.failed == stage.number - 1)
    await stage.show_and_wait()
    assert decoder.number(await watcher.get()) == 5
    assert stage.rendition.failed == 3
    assert caplog.text.count("could not be shown") == 1, "said once, not per picture"


async def test_an_old_frame_is_never_sent_after_a_new_one(stage: Stage) -> None:
    watcher = stage.rendition.watch()
    await stage.show_and_wait()
    stage.number = 0
    stage.show()
    await until(lambda: stage.rendition.failed == 1)
    assert stage.rendition.encoded == 1
    assert (await watcher.get()).index == 1


async def test_a_new_size_is_a_keyframe_of_the_new_size(stage: Stage) -> None:
    watcher = stage.rendition.watch()
    await stage.show_and_wait()
    await stage.show_and_wait(lambda: picture(2, (120, 301)))
    decoder = av.CodecContext.create("vp8", "r")
    (frame,) = decoder.decode(av.Packet((await watcher.get()).data))
    assert (frame.height, frame.width) == (120, 300), "even sides, as the codec wants them"


def test_the_stamp_is_the_captures_and_survives_the_encoder() -> None:
    encoder, image = Vp8Encoder(), i420_planes(picture(0))
    for captured_ns in (7, 10**15, 10**15 + 40_000_000):
        stamp = rtp_stamp(captured_ns)
        coded = encoder.encode(image, stamp, 0, keyframe=False)
        assert coded.stamp == stamp == captured_ns * 9 // 100_000


def test_the_bitrate_is_bounded() -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (30, 60, 80, 3), dtype=np.uint8)
    noise = [np.asarray(cv2.resize(image, (640, 480)), np.uint8) for image in coarse]
    encoder = Vp8Encoder()
    sizes = []
    for number, image in enumerate(noise):
        coded = encoder.encode(i420_planes(image), number * 3600, number, keyframe=number == 20)
        sizes.append(len(coded.data))
    assert bitrate(16) == 1_000_000 < bitrate(640 * 480) < bitrate(4096 * 2160) == 8_000_000
    assert np.mean(sizes[10:]) * 8 * 25 < 1.5 * bitrate(640 * 480), (
        "nothing is like the last picture"
    )

"""What is published into a session: newest first, released at once, lost and taken again."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from service.live.badge import Badge
from service.live.session import Session
from service.live.session_config import SessionConfig
from service.model.process import ModelProcess, ModelTimes
from service.settings import Settings
from streaming.frame import Frame
from streaming.mark import read_mark
from streaming.negotiation import OfferError
from streaming.pump import Pump, PumpState
from streaming.receiving import (
    ASK_AGAIN_S,
    DECODER_BEHIND,
    HELD,
    WITHHELD_S,
    DecoderFailed,
    DecoderQueue,
    MarkedFrame,
    MarkerJitterBuffer,
)
from streaming.slot import LatestSlot
from streaming.whip import InboundStream
from tests.support.fakes import FakeTracker
from tests.support.publisher import SIZE, publishing

PATIENCE_S = 20.0


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


class Reading:
    """An inbound stream with the pump that reads it."""

    def __init__(self) -> None:
        self.inbound = InboundStream()
        self.slot: LatestSlot[Frame] = LatestSlot()
        self.pump = Pump(self.inbound.open, self.slot)
        self.pump.start(self.inbound.open())

    async def frame(self) -> Frame:
        return await asyncio.wait_for(self.slot.get(), PATIENCE_S)


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    one = Reading()
    yield one
    await asyncio.to_thread(one.pump.close)
    await one.inbound.close()
    await one.inbound.close()


async def test_each_frame_comes_before_the_next_one_is_sent(reading: Reading) -> None:
    """aiortc's own buffer would hold the last frame back for ever."""
    async with publishing(reading.inbound.answer) as track:
        for _ in range(10):
            number = track.show()
            frame = await reading.frame()
            assert read_mark(frame.image_rgb) == number
            assert frame.image_rgb.shape == (*SIZE, 3)
            assert 0 <= time.monotonic_ns() - frame.captured_ns < PATIENCE_S * 1e9


async def test_a_publisher_that_leaves_is_a_loss_and_the_next_is_taken(reading: Reading) -> None:
    async with publishing(reading.inbound.answer) as track:
        track.show()
        await reading.frame()
        assert reading.pump.state is PumpState.RUNNING
    await until(lambda: reading.pump.state is PumpState.LOST)
    async with publishing(reading.inbound.answer) as track:
        track.show()
        await reading.frame()
        assert reading.pump.state is PumpState.RUNNING
        assert reading.pump.losses == 1


async def test_a_publisher_takes_over_with_its_first_picture(reading: Reading) -> None:
    async with publishing(reading.inbound.answer) as first:
        first.show()
        await reading.frame()
        async with publishing(reading.inbound.answer) as second:
            first.show()
            assert read_mark((await reading.frame()).image_rgb) == 1, "the first still publishes"
            second.show(size=(240, 256))
            frame = await reading.frame()
            assert frame.image_rgb.shape == (240, 256, 3)
            assert len(reading.inbound._connections) == 1


async def test_unread_frames_are_replaced_not_queued() -> None:
    inbound = InboundStream()
    async with publishing(inbound.answer) as track:
        for number in range(8):
            track.show()
            await until(lambda number=number: inbound.replaced == number)  # type: ignore[misc]
            await asyncio.sleep(0)
        frames = iter(inbound.open())
        frame = await asyncio.to_thread(next, frames)
        assert read_mark(frame.image_rgb) == 7
    await inbound.close()


async def test_close_interrupts_a_source_without_a_publisher() -> None:
    source = InboundStream().open()
    reader = asyncio.create_task(asyncio.to_thread(list, source))
    await asyncio.sleep(0.05)
    source.close()
    source.close()
    assert await asyncio.wait_for(reader, PATIENCE_S) == []


async def offer(kind: str, direction: str) -> str:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver(kind, direction=direction)
    await peer.setLocalDescription(await peer.createOffer())
    sdp = str(peer.localDescription.sdp)
    await peer.close()
    return sdp


@pytest.mark.parametrize(
    ("kind", "direction"), [("video", "recvonly"), ("audio", "sendonly"), ("", "")]
)
async def test_offers_that_publish_nothing_are_refused(kind: str, direction: str) -> None:
    inbound = InboundStream()
    with pytest.raises(OfferError, match="expected an"):
        await inbound.answer(await offer(kind, direction) if kind else "nonsense")
    assert not inbound._connections
    await inbound.close()


async def test_an_offer_that_never_connects_gives_its_place_back() -> None:
    inbound = InboundStream(connect_s=0.3)
    sdp = await offer("video", "sendonly")
    for _ in range(4):
        await inbound.answer(sdp)
        assert len(inbound._connections) <= 2
    await until(lambda: not inbound._connections)
    await inbound.close()


async def test_viewers_see_that_the_publisher_left() -> None:
    inbound = InboundStream()
    plan = SessionConfig(inbound.open, "whip", "none", Badge.LIVE, mark=False, inbound=inbound)
    model = ModelProcess(functools.partial(FakeTracker), ModelTimes(start_s=60))
    session = Session(plan, model, Settings())
    await session.start()
    try:
        assert session.inbound is inbound
        assert session.badge() is Badge.STARTING
        async with publishing(inbound.answer) as track:
            track.show()
            await until(lambda: session.badge() is Badge.LIVE)
        await until(lambda: session.badge() is Badge.LOST)
        async with publishing(inbound.answer) as track:
            track.show()
            await until(lambda: session.badge() is Badge.LIVE)
    finally:
        await session.close()


def packet(number: int, timestamp: int, *, marker: int = 0) -> RtpPacket:
    made = RtpPacket(sequence_number=number % 65536, timestamp=timestamp, marker=marker)
    made._data = bytes([number % 256])
    return made


def add(buffer: JitterBuffer, *numbers: int, marked: bool = True) -> list[bytes]:
    """Frames released by the packets; every frame has three, the last one marked."""
    released = []
    for number in numbers:
        last = marked and number % 3 == 2
        _, frame = buffer.add(packet(number, number // 3, marker=int(last)))
        if frame is not None:
            released += [frame.data, *(one.data for one in getattr(frame, "behind", ()))]
    return released


def test_a_frame_is_released_with_its_last_packet() -> None:
    assert add(MarkerJitterBuffer(), 0, 1) == []
    assert add(MarkerJitterBuffer(), 0, 1, 2) == [b"\0\1\2"]
    assert add(JitterBuffer(512, is_video=True), 0, 1, 2) == [], "aiortc's waits for the next"


def test_a_lost_packet_that_comes_late_releases_everything_behind_it() -> None:
    buffer = MarkerJitterBuffer()
    assert add(buffer, 0, 2, 3, 4, 5, 6, 8) == []
    assert add(buffer, 1) == [b"\0\1\2", b"\3\4\5"], "in order, the incomplete one stays"
    assert add(buffer, 7) == [b"\6\7\x08"]


def test_a_packet_that_never_comes_holds_up_a_few_frames_only() -> None:
    buffer = MarkerJitterBuffer()
    keyframes, released = [], []
    for number in range(60):
        if number != 4:
            keyframe, frame = buffer.add(packet(number, number // 3, marker=int(number % 3 == 2)))
            keyframes.append(keyframe)
            if frame is not None:
                released += [frame.data, *(one.data for one in frame.behind)]  # type: ignore[attr-defined]
    assert released == [bytes(range(n, n + 3)) for n in range(0, 60, 3) if n != 3]
    assert sum(keyframes) == buffer.given_up == 1
    assert len(keyframes) - keyframes[::-1].index(True) <= 3 * (HELD + 4)


def test_a_keyframe_is_asked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wish, or the keyframe, may have been lost."""
    now = 100.0
    monkeypatch.setattr("streaming.receiving.time.monotonic", lambda: now)
    buffer, asked = MarkerJitterBuffer(), []
    failed = DecoderFailed(buffer)
    for number in range(100):
        now += 1 / 64
        if number == 10:
            failed.set()
            failed.clear()  # as aiortc does when it asks
        keyframe, _ = buffer.add(packet(number, number, marker=1))
        if keyframe:
            asked.append(number)
    assert asked == [10 + ASK_AGAIN_S * 64]


def test_packets_in_any_order_and_across_the_wrap() -> None:
    buffer, start = MarkerJitterBuffer(), 65536 - 4
    released = []
    for number in (0, 2, 1, 5, 4, 3, 6, 8, 7):
        made = packet(start + number, number // 3, marker=int(number % 3 == 2))
        made._data = bytes([number])
        _, frame = buffer.add(made)
        if frame is not None:
            released.append(frame.data)
    assert released == [b"\0\1\2", b"\3\4\5", b"\6\7\x08"]


def test_without_marker_bits_it_does_what_aiortc_does() -> None:
    numbers = range(30)
    ours = add(MarkerJitterBuffer(), *numbers, marked=False)
    theirs = add(JitterBuffer(512, is_video=True), *numbers, marked=False)
    assert ours == theirs
    assert len(ours) == 9


def test_the_decoders_queue_is_bounded_and_unpacks() -> None:
    waiting = DecoderQueue(MarkerJitterBuffer())
    frame = MarkedFrame([packet(0, 0)])
    frame.behind.append(MarkedFrame([packet(1, 1)]))
    waiting.put(("codec", frame))
    assert [waiting.get()[1].data for _ in range(2)] == [b"\0", b"\1"]
    for _ in range(1000):
        waiting.put(("codec", MarkedFrame([packet(0, 0)])))
    assert waiting.qsize() <= DECODER_BEHIND
    assert waiting.dropped == 1000 - waiting.qsize()
    waiting.put(None)
    assert np.sum([waiting.get() is None for _ in range(waiting.qsize())]) == 1


class Kind:
    """As much of a codec as tells what a frame is."""

    def __init__(self, name: str) -> None:
        self.mimeType = f"video/{name}"


@pytest.mark.parametrize(
    ("name", "key", "delta"),
    ids=["VP8", "H.264"],
    argvalues=[
        ("VP8", b"\x10\x02\x00", b"\x11\x02\x00"),
        ("H264", b"\0\0\0\1\x67ab\0\0\1\x65cd", b"\0\0\0\1\x61ab\0\0\1\x01"),
    ],
)
def test_after_a_gap_nothing_is_decoded_until_a_keyframe(
    monkeypatch: pytest.MonkeyPatch, name: str, key: bytes, delta: bytes
) -> None:
    """What builds on a frame that is lost would be a picture of two times."""
    now = 100.0
    monkeypatch.setattr("streaming.receiving.time.monotonic", lambda: now)
    buffer = MarkerJitterBuffer()
    waiting, codec = DecoderQueue(buffer), Kind(name)

    def decoded(data: bytes) -> bool:
        whole = packet(0, 0, marker=1)
        whole._data = data
        waiting.put((codec, MarkedFrame([whole])))
        return not waiting.empty() and bool(waiting.get()[1].data == data)

    assert [decoded(one) for one in (key, delta, delta)] == [True] * 3
    for number in range(3 * (HELD + 3)):
        if number != 1:
            buffer.add(packet(number, number // 3, marker=int(number % 3 == 2)))
    assert buffer.given_up == 1
    assert [decoded(one) for one in (delta, delta, key, delta)] == [False, False, True, True]
    buffer.broken()
    assert not decoded(delta)
    now += WITHHELD_S / 2
    buffer.broken()  # again: two seconds from the first are enough
    now += WITHHELD_S / 2
    assert [decoded(delta), decoded(delta)] == [True, True], "a keyframe may never come"
    assert waiting.withheld == 3
    assert waiting.lost >= 3

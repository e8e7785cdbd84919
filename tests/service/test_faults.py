"""What goes wrong around the picture: it goes on moving, or the badge says why it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from benchmarks.live.remote_viewers import remote_viewers
from benchmarks.live.viewer import AskAnswer, watching
from service.live.badge import Badge
from service.live.session import Session
from service.live.session_config import SessionConfig
from service.model.process import ModelProcess, ModelTimes
from service.settings import Settings
from streaming.frame import Frame
from streaming.mark import read_mark
from streaming.receiving import ASK_AGAIN_S
from streaming.whip import InboundStream
from tests.support.fakes import FakeTracker
from tests.support.publisher import publishing

PATIENCE_S = 40.0


class Camera:
    """A source at 25 frames a second that the test can freeze, end and change the size of."""

    fps = Fraction(25)

    def __init__(self) -> None:
        self.finite = False
        self.size = (120, 256)
        self.frozen, self.ended = threading.Event(), threading.Event()
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        while not self._closed.wait(0.04):
            if self.ended.is_set():
                return
            if not self.frozen.is_set():
                image = np.full((*self.size, 3), 90, np.uint8)
                yield Frame(image, number, number * 40_000_000, time.monotonic_ns())
                number += 1

    def open(self) -> Camera:
        self._closed.clear()
        return self

    def close(self) -> None:
        self._closed.set()


class Screen:
    """What one viewer has seen."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.numbers: list[int | None] = []

    def show(self, frame: VideoFrame) -> None:
        self.shapes.append((frame.height, frame.width))
        self.numbers.append(read_mark(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))

    async def moves(self, count: int = 8) -> None:
        """Wait for so many more pictures."""
        target = len(self.shapes) + count
        await until(lambda: len(self.shapes) >= target)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def session_of(
    plan: SessionConfig, settings: Settings | None = None
) -> AsyncIterator[Session]:
    model = ModelProcess(FakeTracker, ModelTimes(start_s=60))
    session = Session(plan, model, settings or Settings())
    await session.start()
    try:
        yield session
    finally:
        await session.close()


@contextlib.asynccontextmanager
async def camera_session(record: Path | None = None) -> AsyncIterator[tuple[Session, Camera]]:
    camera = Camera()
    recorded = record is not None
    plan = SessionConfig(camera.open, "camera", "none", Badge.LIVE, mark=True, record=recorded)
    async with session_of(plan, Settings(record=record)) as session:
        yield session, camera


def asking(session: Session, view: str = "overlay") -> AskAnswer:
    async def ask(sdp: str) -> str:
        return (await session.peers.answer(sdp, view)).sdp

    return ask


@contextlib.asynccontextmanager
async def screen_of(session: Session, view: str = "overlay") -> AsyncIterator[Screen]:
    screen = Screen()
    async with watching(asking(session, view), screen.show):
        await screen.moves()
        yield screen


async def test_a_source_that_freezes_is_called_lost_until_it_moves_again() -> None:
    async with camera_session() as (session, camera), screen_of(session) as screen:
        assert session.badge() is Badge.LIVE
        camera.frozen.set()
        await until(lambda: session.badge() is Badge.LOST)
        still = len(screen.shapes)
        await asyncio.sleep(0.3)
        assert len(screen.shapes) <= still + 1, "no old picture is sent as a new one"
        camera.frozen.clear()
        await until(lambda: session.badge() is Badge.LIVE)
        await screen.moves()


async def test_a_recording_that_ends_says_so_and_a_camera_that_ends_is_lost() -> None:
    for finite, badge in ((True, Badge.ENDED), (False, Badge.LOST)):
        async with camera_session() as (session, camera), screen_of(session) as screen:
            camera.finite = finite
            camera.ended.set()
            await until(lambda badge=badge: session.badge() is badge)  # type: ignore[misc]
            if not finite:
                camera.ended.clear()
                await until(lambda session=session: session.badge() is Badge.LIVE)  # type: ignore[misc]
                await screen.moves()


async def test_a_camera_that_is_gone_before_its_first_frame_is_lost() -> None:
    camera = Camera()
    camera.ended.set()
    plan = SessionConfig(camera.open, "camera", "none", Badge.LIVE, mark=True)
    async with session_of(plan) as session:
        await until(lambda: session.badge() is Badge.LOST)
        camera.ended.clear()
        await until(lambda: session.badge() is Badge.LIVE)


@pytest.mark.parametrize("view", ["overlay", "plain"])
async def test_a_source_that_changes_its_size_is_followed(view: str) -> None:
    async with camera_session() as (session, camera), screen_of(session, view) as screen:
        for size in ((240, 320), (101, 303), (120, 256)):
            camera.size = size
            even = (size[0] // 2 * 2, size[1] // 2 * 2)
            await until(lambda even=even: screen.shapes[-1] == even)  # type: ignore[misc]
            await screen.moves()
        assert session.badge() is Badge.LIVE
        assert session.status().frames_dropped.could_not_be_shown == 0
        assert session.status().model_failures == 0


async def test_a_viewer_that_vanishes_is_forgotten_and_missed_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.3)  # else it takes half a minute
    async with camera_session() as (session, _), screen_of(session) as screen:
        with contextlib.suppress(OSError, EOFError):
            async with remote_viewers(asking(session)) as remote:
                await until(lambda: session.status().renditions["overlay"].viewers == 2)
                os.kill(remote.pid, signal.SIGKILL)
                before = len(screen.numbers)
                await until(lambda: len(session.peers) == 1)
                seen = screen.numbers[before:]
        await screen.moves()
        assert session.status().renditions["overlay"].viewers == 1
        assert session.badge() is Badge.LIVE
    gaps = np.diff([number for number in seen if number is not None])
    assert np.median(gaps) == 1, "the others' picture went on"


async def test_a_viewer_that_stalls_delays_nobody() -> None:
    async with camera_session() as (session, _), screen_of(session, "plain") as screen:
        ask = asking(session, "plain")
        async with remote_viewers(ask) as remote:
            await until(lambda: session.status().renditions["plain"].viewers == 2)
            keyframes = session.status().renditions["plain"].keyframes
            remote.stall()
            before = len(screen.numbers)
            await screen.moves(50)
            remote.go_on()
        seen = [number for number in screen.numbers[before:] if number is not None]
        assert np.median(np.diff(seen)) == 1
        assert len(seen) > 45, "every picture arrived whole"
        assert session.status().renditions["plain"].keyframes <= keyframes + 2


async def test_a_recording_that_cannot_be_written_costs_no_picture() -> None:
    async with (
        camera_session(record=Path("/dev/full")) as (session, _),
        screen_of(session) as screen,
    ):
        await until(lambda: session.status().recording.state == "failed")
        await screen.moves()
        assert session.badge() is Badge.LIVE


def names(root: Path) -> list[str]:
    """Files of the only folder in root."""
    (folder,) = root.iterdir()
    return sorted(file.name for file in folder.iterdir())


async def test_a_session_is_recorded_when_asked_to(tmp_path: Path) -> None:
    async with camera_session(record=tmp_path) as (session, _), screen_of(session) as screen:
        await screen.moves()
        assert session.status().recording.state == "recording"
    assert names(tmp_path) == ["masks.mkv", "video.mp4"]
    assert session.status().recording.state == "closed"
    assert session.status().recording.frames >= 16


def corrupt(payload: bytes) -> bytes:
    """The same length, another content behind the codec's first bytes."""
    noise = np.random.default_rng(len(payload)).bytes(max(0, len(payload) - 12))
    return payload[:12] + noise


async def test_corrupt_packets_of_a_publisher_end_nothing() -> None:
    inbound = InboundStream()
    plan = SessionConfig(inbound.open, "whip", "none", Badge.LIVE, mark=False, inbound=inbound)
    async with session_of(plan) as session, publishing(inbound.answer) as track:

        async def publish(frames: int) -> None:
            for _ in range(frames):
                track.show()
                await asyncio.sleep(0.02)

        await publish(10)
        async with screen_of_published(session, publish) as screen:
            (connection,) = inbound._connections.values()
            receiver = connection.getTransceivers()[0].receiver
            handle = receiver._handle_rtp_packet
            broken = 0

            async def damage(packet: object, arrival_time_ms: int) -> None:
                nonlocal broken
                broken += 1
                packet.payload = corrupt(packet.payload)  # type: ignore[attr-defined]
                await handle(packet, arrival_time_ms)

            asked: list[float] = []
            ask = receiver._send_rtcp_pli

            async def noted(media_ssrc: int) -> None:
                asked.append(time.monotonic())
                await ask(media_ssrc)

            receiver._send_rtcp_pli = noted  # type: ignore[method-assign]
            receiver._handle_rtp_packet = damage  # type: ignore[method-assign]
            await publish(15)
            receiver._handle_rtp_packet = handle  # type: ignore[method-assign]
            await publish(40)
            end = time.monotonic() + PATIENCE_S
            while len(asked) < 2 or asked[-1] - asked[-2] < ASK_AGAIN_S:
                assert time.monotonic() < end, "the keyframe may have been broken as well"
                await publish(5)
            before = len(screen.numbers)
            await publish(25)
            await until(lambda: any(number is not None for number in screen.numbers[before:]))
            assert broken > 3
            assert session.badge() in (Badge.LIVE, Badge.LIVE_SLOW)
            assert session.status().model_failures == 0


@contextlib.asynccontextmanager
async def screen_of_published(
    session: Session, publish: Callable[[int], Awaitable[None]]
) -> AsyncIterator[Screen]:
    """A viewer of a session that shows only what the test publishes."""
    screen = Screen()
    async with watching(asking(session, "plain"), screen.show):
        while len(screen.numbers) < 3:
            await publish(5)
        yield screen


async def test_garbage_sent_to_a_viewers_port_harms_nobody() -> None:
    async with camera_session() as (session, _), screen_of(session) as screen:
        (connection,) = session.peers._connections.values()
        transport = connection.getTransceivers()[0].sender.transport
        generator = np.random.default_rng(0)
        for _ in range(200):
            first = int(generator.choice([22, 128, 144, 200]))
            data = bytes([first]) + generator.bytes(int(generator.integers(0, 80)))
            await transport._handle_rtcp_data(data)
            await transport._handle_rtp_data(data, 0)
        await screen.moves()
        assert session.badge() is Badge.LIVE

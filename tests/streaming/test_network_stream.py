"""An RTSP camera: read, lost, and found again; and what cannot be read is refused in one line."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import psutil
import pytest

from streaming.errors import SourceError
from streaming.frame import Frame
from streaming.network_stream import NetworkStream
from streaming.pump import Pump, PumpState
from streaming.slot import LatestSlot
from streaming.sources import open_source
from tests.support.rtsp_server import RtspServer


@pytest.fixture
def ffmpeg() -> str:
    """ffmpeg makes the streams."""
    found = shutil.which("ffmpeg")
    assert found, "ffmpeg is not installed: `make tools` says how"
    return found


def until(condition: object, seconds: float) -> float:
    """Seconds until it is true."""
    assert callable(condition)
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds} s"
        time.sleep(0.01)
    return time.monotonic() - started


def test_a_stream_gives_its_frames_as_they_come(tmp_path: Path, ffmpeg: str) -> None:
    server = RtspServer(tmp_path)
    try:
        source = open_source(server.url)
        frames = list(itertools.islice(source, 30))
        source.close()
    finally:
        server.stop()
    assert source.size == (240, 320)
    assert not source.finite
    assert {frame.image_rgb.shape for frame in frames} == {(240, 320, 3)}
    assert [frame.index for frame in frames] == list(range(30))
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps)
    assert 15 < 19 / ((stamps[-1] - stamps[10]) / 1e9) < 40, "about 25 frames a second"


def test_a_stream_that_is_only_tried_holds_no_connection(tmp_path: Path, ffmpeg: str) -> None:
    """As when `trocar serve` looks whether there is a source, before it starts."""
    server = RtspServer(tmp_path)
    try:
        before = connections_to(server.port)
        source = open_source(server.url)
        assert connections_to(server.port) == before + 1
        source.close()
        source.close()
        assert connections_to(server.port) == before
        assert list(source) == []
    finally:
        server.stop()


def connections_to(port: int) -> int:
    """TCP connections of this process to a port."""
    connections = psutil.Process().net_connections("tcp")
    return sum(1 for one in connections if one.raddr and one.raddr.port == port)


def test_a_title_that_is_not_utf8_does_not_matter(tmp_path: Path, ffmpeg: str) -> None:
    server = RtspServer(tmp_path, title="Hörsaal 1")
    try:
        source = open_source(server.url)
        assert len(list(itertools.islice(source, 3))) == 3
        source.close()
    finally:
        server.stop()


def test_a_killed_stream_is_back_within_three_seconds_of_its_return(
    tmp_path: Path, ffmpeg: str
) -> None:
    server = RtspServer(tmp_path)
    slot: LatestSlot[Frame] = LatestSlot()
    pump = Pump(lambda: open_source(f"rtsp://127.0.0.1:{port}/scope"), slot)
    port = server.port
    pump.start(open_source(server.url))
    try:
        until(lambda: pump.frames > 10, 10)
        server.stop()
        until(lambda: pump.state is PumpState.LOST, 5)
        time.sleep(1.5)
        before = pump.frames
        server = RtspServer(tmp_path, port)
        assert until(lambda: pump.frames > before, 6) < 3
        assert pump.state is PumpState.RUNNING
        assert pump.losses >= 1
    finally:
        pump.close()
        server.stop()


def test_corrupt_packets_cost_pictures_not_the_stream(tmp_path: Path, ffmpeg: str) -> None:
    server = RtspServer(tmp_path)
    slot: LatestSlot[Frame] = LatestSlot()
    source = open_source(server.url)
    assert isinstance(source, NetworkStream)
    pump = Pump(lambda: pytest.fail("opened again"), slot)
    pump.start(source)
    try:
        until(lambda: pump.frames > 10, 10)
        server.corrupting.set()
        until(lambda: source.corrupt > 2, 10)
        server.corrupting.clear()
        before = pump.frames
        until(lambda: pump.frames > before + 20, 10)
        assert pump.state is PumpState.RUNNING
        assert pump.losses == 0
    finally:
        pump.close()
        server.stop()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://127.0.0.1:1/x", "127.0.0.1: expected a stream, cannot open it"),
        ("v4l2:///dev/no-such-camera", "/dev/no-such-camera: expected a stream, cannot open it"),
        ("gopher://somewhere/x", "got a gopher:// URL"),
    ],
)
def test_what_cannot_be_opened_is_refused(url: str, expected: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(url)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_errors_never_quote_a_password() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("rtsp://surgeon:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert "surgeon" not in str(caught.value)

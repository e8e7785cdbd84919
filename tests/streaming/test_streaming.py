"""Slots, pump, sources, mark and overlay: newest first, nothing grows, nothing blocks a close."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streaming.errors import SourceError
from streaming.frame import Frame
from streaming.mark import draw_mark, read_mark
from streaming.overlay import OverlayStyle, draw_badge, draw_overlay, in_font, parse_color
from streaming.prefetch import Prefetch
from streaming.pump import Pump, PumpState
from streaming.slot import LatestSlot, SlotClosedError
from streaming.sources import LiveFile, RenderedSource, open_source
from streaming.video_file import VideoFile
from streaming.video_writer import VideoWriter
from tests.support.clips import picture, write_clip


async def test_slot_keeps_the_newest_and_counts_the_rest() -> None:
    slot: LatestSlot[int] = LatestSlot()
    for number in range(100):
        slot.put(number)
    assert await slot.get() == 99
    assert slot.replaced == 99
    slot.close()
    slot.close()
    with pytest.raises(SlotClosedError):
        await slot.get()


async def test_slot_wakes_a_waiter_from_another_thread() -> None:
    slot: LatestSlot[str] = LatestSlot()
    threading.Timer(0.05, slot.put, ["item"]).start()
    assert await asyncio.wait_for(slot.get(), 2) == "item"
    threading.Timer(0.05, slot.close).start()
    with pytest.raises(SlotClosedError):
        await asyncio.wait_for(slot.get(), 2)


class Scripted:
    """A source that yields some frames and then blocks, ends or fails."""

    fps, size, finite = Fraction(25), (4, 4), False

    def __init__(self, frames: int, then: str) -> None:
        self.frames, self.then = frames, then
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for number in range(self.frames):
            yield Frame(np.zeros((4, 4, 3), np.uint8), number, number, time.monotonic_ns())
        if self.then == "block":
            self.closed.wait()
        if self.then == "fail":
            raise SourceError("gone")
        if self.then == "break":
            raise MemoryError

    def close(self) -> None:
        self.closed.set()


def test_close_returns_while_the_source_is_blocked() -> None:
    source = Scripted(1, "block")
    pump = Pump(lambda: source, LatestSlot())
    pump.start(source)
    started = time.monotonic()
    pump.close()
    pump.close()
    assert time.monotonic() - started < 2
    assert pump.state is PumpState.CLOSED


@pytest.mark.parametrize("then", ["end", "fail", "break"])
def test_a_lost_source_is_opened_again(then: str) -> None:
    slot: LatestSlot[Frame] = LatestSlot()
    opened: list[Scripted] = []

    def reopen() -> Scripted:
        opened.append(Scripted(5, "block"))
        return opened[-1]

    pump = Pump(reopen, slot)
    pump.start(Scripted(2, then))
    deadline = time.monotonic() + 5
    while pump.frames < 7 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert pump.frames == 7
    assert pump.losses == 1
    assert len(opened) == 1
    pump.close()


def test_file_is_played_at_its_own_pace_and_looped(tmp_path: Path) -> None:
    source = LiveFile(write_clip(tmp_path / "clip.mp4", frames=10))
    started, frames = time.monotonic(), []
    for frame in source:
        frames.append(frame)
        if len(frames) == 25:
            source.close()
    elapsed = time.monotonic() - started
    assert [frame.index for frame in frames] == list(range(25))
    assert 0.8 < elapsed < 2.5
    assert np.abs(frames[0].image_rgb.astype(int) - frames[10].image_rgb).mean() < 1
    steps = np.diff([frame.pts_ns for frame in frames]) / 1e6
    assert steps == pytest.approx(np.full(24, 40), abs=1)


@pytest.mark.parametrize("kind", ["avi", "mkv"])
def test_a_title_that_is_not_utf8_does_not_matter(tmp_path: Path, kind: str) -> None:
    path = write_clip(tmp_path / f"clip.{kind}", frames=10, title="Operation for Mueller")
    written = path.read_bytes()
    assert b"Mueller" in written
    path.write_bytes(written.replace(b"Mueller", "Müller ".encode("latin-1")))
    assert sum(1 for _ in open_source(str(path), loop=False)) == 10


def test_a_file_played_once_ends_and_is_not_opened_again(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=10)
    pump = Pump(lambda: pytest.fail("opened again"), LatestSlot())
    pump.start(open_source(str(path), loop=False))
    deadline = time.monotonic() + 5
    while pump.state is PumpState.RUNNING and time.monotonic() < deadline:
        time.sleep(0.02)
    assert pump.state is PumpState.ENDED
    assert pump.frames == 10
    assert pump.losses == 0
    pump.close()


def test_a_slow_renderer_leaves_frames_out_instead_of_falling_behind() -> None:
    def render(number: int) -> np.ndarray:
        time.sleep(0.05)
        return np.full((2, 2, 3), number % 256, np.uint8)

    source = RenderedSource(render, (2, 2), Fraction(100))
    frames = [frame for frame, _ in zip(source, range(10), strict=False)]
    steps = np.diff([frame.index for frame in frames])
    assert steps.min() >= 1
    assert np.median(steps) >= 4
    assert all(frame.image_rgb[0, 0, 0] == frame.index for frame in frames)


@pytest.mark.parametrize("url", ["http://localhost/x.mp4", "rtsp://host/1", "none.mp4"])
def test_sources_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(SourceError, match="expected"):
        open_source(url)


def test_prefetch_keeps_order_and_passes_errors_on() -> None:
    assert [f.index for f in Prefetch(Scripted(20, "end"))] == list(range(20))
    seen = []

    def read() -> None:
        for frame in Prefetch(Scripted(3, "fail")):
            seen.append(frame.index)

    with pytest.raises(SourceError, match="gone"):
        read()
    assert seen == [0, 1, 2]


def test_mark_survives_a_poor_video_codec() -> None:
    codec = av.CodecContext.create("libvpx", "w")
    codec.width, codec.height, codec.pix_fmt = 640, 480, "yuv420p"
    codec.bit_rate, codec.time_base = 400_000, Fraction(1, 25)
    codec.options = {"deadline": "realtime", "cpu-used": "8"}
    decoder = av.CodecContext.create("vp8", "r")
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    read = []
    for number in range(0, 65536, 1311):
        image = np.roll(noise, number // 1311 * 7, axis=1)
        draw_mark(image, number)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = number // 1311
        for packet in codec.encode(frame):
            for decoded in decoder.decode(packet):
                read.append((read_mark(decoded.to_ndarray(format="rgb24")), number))
    assert len(read) == 50
    assert all(seen == number for seen, number in read)


def test_a_name_hides_no_instrument() -> None:
    image = np.full((480, 640, 3), 90, np.uint8)
    classes = np.zeros((480, 640), np.uint8)
    classes[200:300, 100:500] = 1
    bare = draw_overlay(image, classes, {1: (0, 255, 0)})
    named = draw_overlay(image, classes, {1: (0, 255, 0)}, OverlayStyle(names={1: "hook"}))
    changed = (bare != named).any(axis=2)
    assert changed.any(), "the name is drawn"
    assert not changed[classes > 0].any(), "but not over the instrument"


def test_no_name_hides_another() -> None:
    """Two thin instruments side by side: a name in the middle of each would be on the other's."""
    image = np.full((480, 640, 3), 90, np.uint8)
    classes = np.zeros((480, 640), np.uint8)
    classes[40:440, 300:312], classes[40:440, 316:328] = 1, 2
    palette, names = {1: (0, 255, 0), 2: (255, 0, 0)}, {1: "needle driver", 2: "clip applier"}

    def changed(shown: dict[int, str]) -> np.ndarray:
        drawn = draw_overlay(image, classes, palette, OverlayStyle(names=shown))
        return (drawn != draw_overlay(image, classes, palette)).any(axis=2)

    first, both = changed({1: names[1]}), changed(names)
    assert both.sum() >= 1.8 * first.sum(), "each has a place of its own"
    assert not both[classes > 0].any()


def test_no_mark_is_read_where_there_is_none() -> None:
    generator = np.random.default_rng(1)
    for _ in range(200):
        coarse = generator.integers(0, 255, (15, 20, 3), dtype=np.uint8)
        assert read_mark(np.kron(coarse, np.ones((32, 32, 1), np.uint8)).astype(np.uint8)) is None


def test_overlay_colours_the_mask_and_nothing_else() -> None:
    image = np.full((100, 160, 3), 100, np.uint8)
    classes = np.zeros((100, 160), np.uint8)
    classes[20:60, 30:90] = 7
    drawn = draw_overlay(image, classes, {7: parse_color("#ff0000")}, OverlayStyle(contour=False))
    changed = (drawn != image).any(axis=2)
    assert np.array_equal(changed, classes > 0)
    assert drawn[40, 60, 0] > 130 > 100 > drawn[40, 60, 1]
    assert (image == 100).all(), "the picture itself is untouched"
    empty = draw_overlay(image, np.zeros_like(classes), {7: (255, 0, 0)})
    assert np.array_equal(empty, image)


@pytest.mark.parametrize("shape", [(1, 1), (59, 40), (480, 640), (1080, 1920)])
def test_overlay_and_badge_fit_any_size(shape: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    style = OverlayStyle(names={1: "needle_driver"})
    drawn = draw_overlay(image, np.ones(shape, np.uint8), {1: (9, 200, 9)}, style)
    draw_badge(drawn, "AI OFF", (255, 0, 0))
    assert drawn.shape == image.shape


def test_a_recording_that_was_held_up_goes_on_at_its_pace(tmp_path: Path) -> None:
    source = LiveFile(write_clip(tmp_path / "clip.mp4", frames=40))
    frames = iter(source)
    for _ in range(3):
        next(frames)
    time.sleep(1.5)
    moments = [next(frames).captured_ns for _ in range(12)]
    source.close()
    assert (moments[-1] - moments[1]) / 1e9 > 0.35, "ten frames of a 25th of a second"


@pytest.mark.parametrize(("aspect", "size"), [("64/45", (576, 1024)), ("8/9", (648, 720))])
def test_pixels_that_are_not_square_are_shown_as_they_were_seen(
    tmp_path: Path, aspect: str, size: tuple[int, int]
) -> None:
    clip = tmp_path / "tape.mp4"
    writer = VideoWriter(clip, (576, 720), Fraction(25), Fraction(aspect))
    for number in range(3):
        writer.write(picture(number, (576, 720)), number * 40_000_000)
    writer.close()
    source = LiveFile(clip)
    assert next(iter(source)).image_rgb.shape == (*size, 3)
    source.close()
    kept = VideoFile(clip)
    assert kept.size == (576, 720)
    assert kept.pixel_aspect == Fraction(aspect)
    kept.close()


def test_names_are_written_with_the_letters_that_there_are() -> None:
    assert in_font("Clipzange, größer, çok") == "Clipzange, gro?er, cok"

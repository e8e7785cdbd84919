"""Interlaced recordings and streams are made whole, and the status says so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.types import UInt8Array
from service.commands.main import main
from streaming.deinterlace import Deinterlacer, Look, Mode
from streaming.frame import Frame
from streaming.pictures import Pictures
from streaming.pump import Pump
from streaming.slot import LatestSlot
from streaming.sources import LiveFile
from streaming.video_file import VideoFile
from tests.support.odd_clips import Clip, interlaced, read, times_s, write
from tests.support.segmenting import read_report, refused, with_a_fake

TAGGED = {"flags": "+ilme+ildct"}  # with the lower field first
SIZES = [(576, 720), (480, 720), (1080, 1920)]


def combed(image: UInt8Array) -> float:
    """How much neighbouring rows differ beyond rows that are two apart."""
    rows = image.astype(np.int32)
    near = np.abs(rows[1:-1] - rows[:-2]).mean()
    far = np.abs(rows[2:] - rows[:-2]).mean()
    return float(near - far)


def whole(number: int, size: tuple[int, int], field: int = 0) -> UInt8Array:
    """The same bar as interlaced(), of one moment. field: 0 is the upper one"""
    woven = interlaced(number, size)
    woven[1 - field :: 2] = woven[field::2]
    return woven


def clip_of(path: Path, size: tuple[int, int], *, frames: int = 20, tagged: bool) -> Path:
    codec = {"crf": "8", "preset": "ultrafast", **(TAGGED if tagged else {})}
    return write(path, Clip(frames=frames, size=size, draw=interlaced, codec=codec))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tagged", [True, False], ids=["tagged", "found"])
def test_fields_are_joined_whoever_says_it(
    tmp_path: Path, size: tuple[int, int], tagged: bool
) -> None:
    path = clip_of(tmp_path / "a.mp4", size, frames=8 if tagged else 20, tagged=tagged)
    frames, video = read(path)
    assert video.taken_as().deinterlaced == ("tagged" if tagged else "found")
    assert len(frames) == (8 if tagged else 20), "a frame in, a frame out"
    assert times_s(frames) == pytest.approx([0.04 * n for n in range(len(frames))], abs=1e-3)
    before = VideoFile(path, "off")
    woven = list(before)
    assert before.taken_as().deinterlaced is None
    assert combed(woven[2].image_rgb) > 1
    for number in (0, 2, len(frames) - 1):
        assert combed(frames[number].image_rgb) < 0.1
        expected = whole(number, size, field=1 if tagged else 0)[16:-16:8].astype(int)
        difference = np.abs(frames[number].image_rgb[16:-16:8] - expected)
        assert difference.mean() < 1, "of its first field"


@pytest.mark.parametrize("size", [(576, 720), (720, 1280), (96, 128)])
def test_what_is_whole_is_left_alone(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = Clip(frames=20, size=size, draw=whole, codec={"crf": "8", "preset": "ultrafast"})
    path = write(tmp_path / "a.mp4", clip)
    frames, video = read(path)
    assert video.taken_as().deinterlaced is None
    for one, same in zip(frames, VideoFile(path, "off"), strict=True):
        assert np.array_equal(one.image_rgb, same.image_rgb)


def test_on_deinterlaces_what_nobody_would_find(tmp_path: Path) -> None:
    path = clip_of(tmp_path / "a.mp4", (96, 128), tagged=False)
    assert read(path)[1].taken_as().deinterlaced is None, "no size that is ever interlaced"
    video = VideoFile(path, "on")
    frames = list(video)
    assert video.taken_as().deinterlaced == "asked"
    assert len(frames) == 20
    assert combed(frames[3].image_rgb) < 0.2


@pytest.mark.parametrize(("mode", "why"), [("auto", "tagged"), ("on", "asked"), ("off", None)])
def test_the_command_takes_the_choice_and_the_report_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, why: str | None
) -> None:
    path = clip_of(tmp_path / "a.mp4", (576, 720), frames=4, tagged=True)
    run = with_a_fake(monkeypatch, tmp_path / "out")
    assert run(path, "--deinterlace", mode) == 0
    report = read_report(tmp_path / "out")
    assert report["picture"]["deinterlaced"] == why
    assert report["frames"] == 4


def live_pictures(size: tuple[int, int], count: int) -> list[av.VideoFrame]:
    made = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(interlaced(number, size), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        made.append(frame)
    return made


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_live_stream_is_held_back_by_one_picture_and_no_more(mode: Mode) -> None:
    """bwdif looks at the next one. Each keeps its own stamp, so the delay shows in the latency."""
    live: Pictures[int] = Pictures(mode)
    came: list[int] = []
    for number, frame in enumerate(live_pictures((576, 720), 60)):
        stamps = [tag for _, tag in live.pass_on(frame, number)]
        assert all(tag >= number - 1 for tag in stamps)
        came += stamps
    assert came == list(range(59))
    assert [tag for _, tag in live.rest()] == [59]
    assert live.taken_as().deinterlaced == ("found" if mode == "auto" else "asked")


def test_a_live_stream_that_is_whole_is_not_held_back() -> None:
    live: Pictures[int] = Pictures()
    for number in range(60):
        frame = av.VideoFrame.from_ndarray(whole(number, (576, 720)), format="rgb24")
        frame = frame.reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        assert [tag for _, tag in live.pass_on(frame, number)] == [number]


def test_a_stream_that_changes_its_size_loses_no_picture() -> None:
    fields: Deinterlacer[int] = Deinterlacer("on")
    came = []
    first, second = (live_pictures(size, 5) for size in ((96, 128), (64, 96)))
    for number, frame in enumerate([*first, *second]):
        came += [(tag, picture.height) for picture, tag in fields.pass_on(frame, number)]
    came += [(tag, picture.height) for picture, tag in fields.rest()]
    assert came == [(n, 96) for n in range(5)] + [(n, 64) for n in range(5, 10)]


def test_a_recording_played_live_is_looked_at_once(tmp_path: Path) -> None:
    source = LiveFile(clip_of(tmp_path / "a.mp4", (576, 720), frames=8, tagged=True), loop=False)
    assert source.taken_as().deinterlaced == "tagged"
    assert len(list(source)) == 8


def test_a_session_says_how_its_source_is_taken(tmp_path: Path) -> None:
    path = clip_of(tmp_path / "a.mp4", (576, 720), frames=8, tagged=True)
    slot: LatestSlot[Frame] = LatestSlot()
    pump = Pump(lambda: LiveFile(path), slot)
    pump.start(LiveFile(path))
    status = pump.taken_as().status()
    pump.close()
    assert status["deinterlaced"] == "tagged"
    assert status["colour"]["matrix"] == "BT.601"
    assert pump.taken_as().status() == {"colour": None, "deinterlaced": None}, "nothing is shown"


def test_a_volume_has_no_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    code = main(["segment", str(tmp_path / "a.nii"), "-o", "out", "--deinterlace", "on"])
    refused(capsys, code, "--deinterlace is for recordings")


def test_looking_ends(tmp_path: Path) -> None:
    """A picture that stands still tells nothing, and is not looked at for ever."""
    look = Look()
    still = live_pictures((576, 720), 1)[0]
    for number in range(200):
        still.pts = number
        look.at(still)
    assert look.over
    assert look.found is None

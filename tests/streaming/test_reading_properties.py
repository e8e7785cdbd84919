"""What holds of any recording: whole, cut at any byte, or with any bytes spoilt."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.clock import Clock
from streaming.errors import SourceError
from streaming.frame import Frame
from streaming.video_file import VideoFile
from tests.support.odd_clips import Clip, read, write

KINDS = {
    "whole.mp4": {}, "first.mp4": {"movflags": "faststart"},
    "pieces.mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "a.mkv": {}, "a.avi": {}, "a.ts": {}, "a.vob": {},
}  # fmt: skip
FRAMES = 24
# These containers say how long they are: a cut anywhere is noticed.
SAY_THEIR_LENGTH = ("whole.mp4", "first.mp4", "a.mkv", "a.avi")
FREELY = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@cache
def whole(folder: Path, name: str) -> tuple[bytes, tuple[Frame, ...]]:
    """The bytes of a clip, and its frames."""
    clip = Clip(frames=FRAMES, options=KINDS[name], codec={"g": "6", "bf": "1"})
    path = write(folder / f"whole-{name}", clip)
    frames, video = read(path)
    assert video.problem is None
    return path.read_bytes(), tuple(frames)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def seen(path: Path) -> tuple[list[Frame], str | None]:
    """Frames and the problem; a file that is refused has none, and says why in a line."""
    try:
        frames, video = read(path)
    except SourceError as error:
        return [], str(error)
    return frames, video.problem


def check_times(frames: list[Frame]) -> None:
    times = [frame.pts_ns for frame in frames]
    assert times == sorted(set(times)), "strictly rising"
    assert not times or times[0] == 0
    assert [frame.index for frame in frames] == list(range(len(frames)))


@pytest.mark.parametrize("name", KINDS)
@given(share=st.floats(0, 1))
@FREELY
def test_a_cut_at_any_byte_is_never_whole(folder: Path, name: str, share: float) -> None:
    content, all_of_it = whole(folder, name)
    end = int(share * (len(content) - 1))
    path = folder / f"cut-{name}"
    path.write_bytes(content[:end])
    frames, problem = seen(path)
    check_times(frames)
    assert problem is None or "\n" not in problem
    if problem is None:
        assert name not in SAY_THEIR_LENGTH
        between_packets = name == "a.ts" and end % 188 == 0  # its last picture may be half of one
        for one, same in zip(frames[: -2 if between_packets else None], all_of_it, strict=False):
            assert np.array_equal(one.image_rgb, same.image_rgb), "a good recording, but shorter"


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@FREELY
def test_spoilt_bytes_are_no_traceback(folder: Path, name: str, data: st.DataObject) -> None:
    content, _ = whole(folder, name)
    spoilt = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(spoilt) - 1))
        junk = data.draw(st.binary(min_size=1, max_size=64))
        spoilt[at : at + len(junk)] = junk
    path = folder / f"spoilt-{name}"
    path.write_bytes(spoilt)
    check_times(seen(path)[0])


@given(
    gaps=st.lists(st.integers(1, 3000), min_size=2, max_size=12),
    start=st.integers(0, 10_000_000),
    name=st.sampled_from(["a.mp4", "a.mkv", "a.ts"]),
)
@settings(FREELY, max_examples=25)
def test_two_passes_give_the_same(folder: Path, gaps: list[int], start: int, name: str) -> None:
    times = np.cumsum([start, *gaps]).tolist()
    path = write(folder / name, Clip(frames=len(times), times_ms=times, codec={"bf": "0"}))
    first, second = (read(path)[0] for _ in range(2))
    check_times(first)
    assert len(first) == len(times)
    assert [frame.pts_ns for frame in first] == [frame.pts_ns for frame in second]
    assert all(np.array_equal(a.image_rgb, b.image_rgb) for a, b in zip(first, second, strict=True))
    video = VideoFile(path)
    assert {frame.image_rgb.shape[:2] for frame in first} == {video.size}
    video.close()


@given(
    stated=st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=1, max_size=60),
    interval=st.integers(1, 10**10),
    joined=st.booleans(),
)
@settings(FREELY, max_examples=300)
def test_no_clock_makes_time_stand_or_run_away(
    stated: list[int | None], interval: int, joined: bool
) -> None:
    clock = Clock(may_be_joined=joined)
    shown = [clock.at(time, None, interval) for time in stated]
    assert shown[0] == 0
    steps = np.diff(np.array(shown, dtype=object)).tolist()
    assert all(step > 0 for step in steps)
    longest = 10 * 10**9 if joined else 30 * 3600 * 10**9
    assert all(step <= longest + interval for step in steps)

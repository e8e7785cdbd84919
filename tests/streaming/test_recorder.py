"""Recording: what was seen is on the disk, also after a kill; a full disk ends nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.types import UInt8Array
from streaming.frame import Frame
from streaming.recorder import WAITING, Recorder, RecorderState
from tests.streaming.test_mask_wire import blobs
from tests.support.clips import picture

SIZE = (121, 161)
PATIENCE_S = 30


def frame(number: int, size: tuple[int, int] = SIZE) -> Frame:
    return Frame(picture(number, size), number, number * 40_000_000, 10**12 + number * 40_000_000)


def mask(number: int) -> UInt8Array:
    return blobs(SIZE, number)


def record(folder: Path, frames: int) -> Recorder:
    """Frames with a mask on every second one, as fast as the disk takes them."""
    recorder = Recorder(folder, Fraction(25))
    for number in range(frames):
        recorder.frame(frame(number))
        if number % 2:
            recorder.mask(frame(number), mask(number))
        wait(recorder, number + 1)
    return recorder


def wait(recorder: Recorder, frames: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while recorder.frames < frames and recorder.state is RecorderState.RECORDING:
        assert time.monotonic() < end
        time.sleep(0.002)


def read(path: Path, form: str) -> dict[int, UInt8Array]:
    """Pictures of a video by their time, milliseconds."""
    with av.open(str(path)) as container:
        return {
            round(one.time * 1000): np.asarray(one.to_ndarray(format=form), np.uint8)
            for one in container.decode(video=0)
        }


def test_a_mask_has_its_frames_time_wherever_that_lies_between_milliseconds(tmp_path: Path) -> None:
    """mp4 and Matroska count time differently; halves of a millisecond went both ways."""
    recorder = Recorder(tmp_path, Fraction(25))
    for number in range(30):
        between = number * 40_500_000 + number % 7 * 100_000
        recorder.frame(replace(frame(number), captured_ns=between))
        recorder.mask(replace(frame(number), captured_ns=between), mask(number))
        wait(recorder, number + 1)
    recorder.close()
    shown, masks = (read(tmp_path / name, form) for name, form in FILES)
    assert len(shown) == 30
    assert list(masks) == list(shown)


def test_pictures_and_masks_are_recorded_with_their_times(tmp_path: Path) -> None:
    recorder = record(tmp_path / "new", 40)
    recorder.close()
    recorder.close()
    assert recorder.state is RecorderState.CLOSED
    shown, masks = (read(tmp_path / "new" / name, form) for name, form in FILES)
    assert list(shown) == [number * 40 for number in range(40)]
    assert list(masks) == [number * 40 for number in range(1, 40, 2)]
    for moment, image in shown.items():
        expected = picture(moment // 40, SIZE)
        assert np.abs(image[: SIZE[0], : SIZE[1]].astype(int) - expected).mean() < 4
    assert all(np.array_equal(one, mask(moment // 40)) for moment, one in masks.items())


FILES = (("video.mp4", "rgb24"), ("masks.mkv", "gray"))


def test_a_killed_process_leaves_valid_files(tmp_path: Path) -> None:
    script = (
        "import pathlib, time; from tests.streaming.test_recorder import record; "
        f"record(pathlib.Path({str(tmp_path)!r}), 200); print('done', flush=True); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        process.kill()
    shown, masks = (read(tmp_path / name, form) for name, form in FILES)
    assert len(shown) >= 100, "at most the last seconds are missing"
    assert len(masks) >= 50
    assert all(np.array_equal(one, mask(moment // 40)) for moment, one in masks.items())


@pytest.mark.parametrize("full", ["video.mp4", "masks.mkv"])
def test_a_full_disk_ends_the_recording_and_nothing_else(
    tmp_path: Path, full: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / full).symlink_to("/dev/full")
    recorder = record(tmp_path, 200)
    assert recorder.state is RecorderState.FAILED
    for number in range(10 * WAITING):
        recorder.frame(frame(number))
    recorder.close()
    assert recorder.state is RecorderState.FAILED, "and it stays said"
    assert caplog.text.count("the recording ended") == 1
    assert str(tmp_path) not in caplog.text


def test_a_disk_that_is_too_slow_costs_pictures_of_the_recording_only(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Fraction(25))
    started = time.monotonic()
    for number in range(300):
        recorder.frame(frame(number, (480, 640)))
    assert time.monotonic() - started < 5
    assert recorder.dropped > 0
    recorder.close()
    assert recorder.frames + recorder.dropped == 300


def test_a_new_size_goes_on_in_the_size_of_the_first_frame(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Fraction(25))
    recorder.frame(frame(0))
    recorder.frame(frame(1, (240, 320)))
    recorder.mask(frame(1), mask(1))
    recorder.close()
    assert len(read(tmp_path / "video.mp4", "rgb24")) == 2


def test_two_frames_of_one_millisecond_keep_their_own_masks(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Fraction(25))
    for number, captured_ns in enumerate([0, 40_000_000, 40_300_000, 40_900_000, 80_000_000]):
        recorder.frame(replace(frame(number), captured_ns=captured_ns))
        recorder.mask(replace(frame(number), captured_ns=captured_ns), mask(number))
        wait(recorder, number + 1)
    recorder.close()
    shown, masks = (read(tmp_path / name, form) for name, form in FILES)
    assert list(shown) == list(masks) == [0, 40, 41, 42, 80]
    assert all(np.array_equal(one, mask(number)) for number, one in enumerate(masks.values()))


def test_after_a_night_without_a_picture_a_new_recording_has_its_own_true_times(
    tmp_path: Path,
) -> None:
    recorder = Recorder.in_new_folder(tmp_path, Fraction(25))
    night_ns = 8 * 3600 * 1_000_000_000
    for number in range(20):
        late = replace(frame(number), captured_ns=number * 40_000_000 + (number >= 10) * night_ns)
        recorder.frame(late)
        recorder.mask(late, mask(number))
        wait(recorder, number + 1)
    recorder.close()
    assert recorder.frames == 20
    folders = sorted(tmp_path.iterdir(), key=lambda folder: folder.stat().st_ctime_ns)
    assert len(folders) == 2
    for folder in folders:
        for name, form in FILES:
            assert list(read(folder / name, form)) == [number * 40 for number in range(10)]


def test_whatever_ends_a_recording_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("of somebody's library")

    monkeypatch.setattr("streaming.recorder.VideoWriter.write", broken)
    recorder = Recorder(tmp_path, Fraction(25))
    recorder.frame(frame(0))
    recorder.close()
    assert recorder.state is RecorderState.FAILED
    assert caplog.text.count("the recording ended") == 1

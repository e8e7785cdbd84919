"""Times of frames where a recording's own clock starts again, jumps, or begins elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from service.commands.main import main
from streaming.clock import Clock
from tests.support.odd_clips import Clip, joined, read, remuxed, times_s, write
from tests.support.segmenting import read_report, with_a_fake

STEADY_60 = [round(n * 0.04, 4) for n in range(60)]


def test_vobs_joined_by_cat_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVD recorder's pieces: each starts its clock again."""
    part = write(tmp_path / "part.vob")
    dvd = joined(tmp_path / "dvd.vob", part, part)
    assert with_a_fake(monkeypatch, tmp_path / "out")(dvd) == 0
    lines = (tmp_path / "out/frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["time_s"] for line in lines] == pytest.approx(STEADY_60)
    assert read_report(tmp_path / "out")["problem"] is None
    with av.open(str(tmp_path / "out/overlay.mp4")) as overlay:
        assert overlay.duration is not None
        assert overlay.duration / av.time_base == pytest.approx(2.4, abs=0.01)


@pytest.mark.parametrize(
    ("first_s", "second_s"),
    [(3600, 0), (0, 3600), (3600, 1800), (26.5 * 3600 - 0.6, 0), (0, 0)],
    ids=["back to zero", "an hour ahead", "half an hour back", "about to wrap", "the same again"],
)
def test_transport_streams_joined_by_cat_go_on(
    tmp_path: Path, first_s: float, second_s: float
) -> None:
    first = write(tmp_path / "a.ts", Clip(offset_s=first_s))
    second = write(tmp_path / "b.ts", Clip(offset_s=second_s))
    frames, video = read(joined(tmp_path / "both.ts", first, second))
    assert times_s(frames) == pytest.approx(STEADY_60, abs=1e-3)
    assert video.problem is None


def test_a_clock_that_wraps_is_no_jump(tmp_path: Path) -> None:
    """33 bits at 90 kHz: after 26.5 hours."""
    wraps_s = 2**33 / 90_000
    frames, video = read(write(tmp_path / "wrap.ts", Clip(frames=60, offset_s=wraps_s - 2.5)))
    assert times_s(frames) == pytest.approx(STEADY_60, abs=1e-3)
    assert video.problem is None


@pytest.mark.parametrize("offset_s", [7, 3600])
def test_a_recording_begins_at_zero_whatever_its_clock_says(tmp_path: Path, offset_s: int) -> None:
    times = [offset_s * 1000 + 40 * n for n in range(30)]
    for name in ("a.mkv", "a.mp4"):
        frames, video = read(write(tmp_path / name, Clip(times_ms=times)))
        assert times_s(frames) == pytest.approx([0.04 * n for n in range(len(frames))], abs=2e-3)
        assert video.problem is None


def test_a_trimmed_clip_begins_at_its_cut_and_is_whole(tmp_path: Path) -> None:
    """Cut without encoding again: the lead-in is in the file, hidden by an edit list."""
    whole = write(tmp_path / "whole.mp4", Clip(frames=60))
    frames, video = read(remuxed(whole, tmp_path / "trim.mp4", cut_s=0.68))
    assert len(frames) == 43
    assert times_s(frames) == pytest.approx(STEADY_60[:43], abs=2e-3)
    assert video.problem is None


def test_a_pause_is_a_pause(tmp_path: Path) -> None:
    """Pictures at moments of their own, as phones and recorders with a pause button write them."""
    times = [0, 40, 80, 120, 5120, 5160, 65_000, 65_040]
    frames, video = read(write(tmp_path / "a.mp4", Clip(frames=8, times_ms=times)))
    assert times_s(frames) == pytest.approx([time / 1000 for time in times], abs=2e-3)
    assert video.problem is None, "nothing is missing: its index lists what there is"


def test_pictures_left_out_of_an_avi_are_no_jump(tmp_path: Path) -> None:
    """AVI has no times: what was left out is an empty chunk, and neither shown nor missing."""
    times = [40 * n for n in range(20)] + [40 * n for n in range(26, 50)]
    frames, video = read(write(tmp_path / "a.avi", Clip(frames=44, times_ms=times)))
    assert times_s(frames)[-1] == pytest.approx(1.96, abs=0.05)
    assert len(frames) == 44
    assert video.problem is None


def test_one_wrong_time_is_not_another_clock() -> None:
    clock, ms = Clock(may_be_joined=True), 1_000_000
    stated = [0, 40, 80, 50_000, 160, 200, -9_000, 280, 320]
    shown = [clock.at(time * ms, None, 40 * ms) // ms for time in stated]
    assert shown == [0, 40, 80, 120, 160, 200, 240, 280, 320]


def test_times_rise_where_a_file_repeats_them() -> None:
    clock = Clock(may_be_joined=False)
    shown = [clock.at(time, None, 40) for time in (100, 140, 140, 180, None, 260)]
    assert shown == sorted(set(shown))
    assert shown[-1] == 160


def test_help_names_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    assert "--deinterlace {auto,on,off}" in capsys.readouterr().out

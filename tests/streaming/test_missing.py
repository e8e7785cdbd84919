"""Pictures that a recording has lost: named with their place, and only where there are any."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streaming.errors import SourceError
from tests.support.odd_clips import (
    Clip,
    joined,
    packet_places,
    picture,
    read,
    spoilt,
    times_s,
    write,
)

MINUTE = Clip(frames=100, size=(96, 128))


def test_a_bad_packet_costs_its_own_picture(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", MINUTE)
    place, _ = packet_places(whole)[60]
    frames, video = read(spoilt(whole, place, 4))
    assert 95 <= len(frames) < 100, "decoding goes on after it"
    assert video.problem is not None
    assert "could not be read" in video.problem
    gap = re.search(r"no pictures between (\d+\.\d+) and (\d+\.\d+) s", video.problem)
    assert gap is not None
    assert 2.2 < float(gap[1]) < float(gap[2]) < 2.6
    assert times_s(frames)[-1] == pytest.approx(3.96, abs=1e-3), "the others keep their times"


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.vob", "a.avi"])
def test_a_hole_in_the_middle_is_noticed_in_every_container(tmp_path: Path, name: str) -> None:
    """As a disk's bad sectors leave it; each demuxer finds its way back by itself."""
    noise = random.Random(1)
    whole = write(tmp_path / name, Clip(frames=100, codec={"b": "400k"}))
    size = whole.stat().st_size
    content = bytearray(whole.read_bytes())
    content[size // 2 : size // 2 + size // 8] = noise.randbytes(size // 8)
    whole.write_bytes(content)
    frames, video = read(whole)
    assert 40 < len(frames) < 100
    assert video.problem is not None, "something is missing, and it is said"
    assert frames[-1].pts_ns > 2.5e9, "what comes after it is read"


def test_what_an_index_lists_is_counted(tmp_path: Path) -> None:
    """Its demuxer finds the next chunk behind the hole and counts on as if there were none."""
    whole = write(tmp_path / "a.avi", Clip(frames=100))
    at, _ = packet_places(whole)[50]
    end, _ = packet_places(whole)[60]
    frames, video = read(spoilt(whole, at - 8, end - at, b"\0"))
    assert video.problem is not None
    assert f"{100 - len(frames)} pictures could not be read" in video.problem


def test_packets_taken_out_of_a_transport_stream_are_noticed(tmp_path: Path) -> None:
    """A clean cut at packet borders: nothing is damaged, and yet a second is missing."""
    first = write(tmp_path / "a.ts", Clip(frames=50, codec={"bf": "0"}))
    second = write(tmp_path / "b.ts", Clip(frames=25, offset_s=3.0, codec={"bf": "0"}))
    frames, video = read(joined(tmp_path / "both.ts", first, second))
    assert len(frames) == 75
    assert video.problem is not None
    assert re.search(r"no pictures between 2\.0\d and 3\.0\d s", video.problem)


def test_a_recording_with_sound_that_ends_too_soon_is_noticed(tmp_path: Path) -> None:
    """Its demuxer does not find its way back; the header has the length of the longest stream."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "10"})
        video.height, video.width, video.pix_fmt = 96, 128, "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(picture(number, (96, 128)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
            for part in range(2):
                heard = av.AudioFrame.from_ndarray(
                    np.zeros((1, 320), np.float32), format="fltp", layout="mono"
                )
                heard.rate, heard.pts = 8000, 320 * (2 * number + part)
                heard.time_base = Fraction(1, 8000)
                container.mux(sound.encode(heard))
        container.mux(video.encode())
        container.mux(sound.encode())
    assert read(path)[1].problem is None, "its sound is twice as long"
    place, _ = packet_places(path)[60]
    frames, video_file = read(spoilt(path, place, path.stat().st_size - place - 200, b"\0"))
    assert len(frames) < 70
    assert video_file.problem is not None


def test_several_holes_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", Clip(frames=100, codec={"g": "5", "bf": "0"}))
    places = packet_places(whole)
    content = bytearray(whole.read_bytes())
    for number in (11, 31, 51, 71, 91):
        at, _ = places[number]
        content[at : at + 4] = b"\xff" * 4
    whole.write_bytes(content)
    _, video = read(whole)
    assert video.problem is not None
    assert video.problem.count(" and ") >= 3
    assert "in 2 more places" in video.problem
    assert "5 pictures could not be read" in video.problem
    assert "\n" not in video.problem


@pytest.mark.parametrize("name", ["a.mp4", "f.mp4", "a.mkv", "a.avi", "a.ts"])
def test_the_last_picture_too_is_missed(tmp_path: Path, name: str) -> None:
    """Cut in the middle of the last packet, wherever the index lies."""
    options = {
        "a.mp4": {"movflags": "faststart"},
        "f.mp4": {"movflags": "frag_keyframe+empty_moov"},
    }
    whole = write(tmp_path / name, Clip(frames=60, options=options.get(name, {})))
    assert read(whole)[1].problem is None
    place, length = packet_places(whole)[-1]
    end = place + length // 2 if name != "a.ts" else whole.stat().st_size - 100
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[:end])
    _, video = read(cut)
    assert video.problem is not None
    assert "cut short" in video.problem


def test_a_recording_without_a_single_readable_picture_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mp4", Clip(frames=20, options={"movflags": "faststart"}))
    start, _ = packet_places(whole)[0]
    size = whole.stat().st_size
    with pytest.raises(SourceError, match="expected frames, the video has none"):
        read(spoilt(whole, start, size - start, b"\0"))


@pytest.mark.parametrize("name", ["a.mp4", "f.mp4", "a.mkv", "a.avi", "a.ts", "a.vob"])
def test_a_whole_recording_is_whole(tmp_path: Path, name: str) -> None:
    options = {"f.mp4": {"movflags": "frag_keyframe+empty_moov"}}
    frames, video = read(write(tmp_path / name, Clip(frames=60, options=options.get(name, {}))))
    assert len(frames) == 60
    assert video.problem is None

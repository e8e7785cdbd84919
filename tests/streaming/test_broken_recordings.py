"""`trocar segment` on recordings that are cut short, empty or none at all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.clips import picture, write_clip
from tests.support.segmenting import Run, check_outputs, read_report, refused, with_a_fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`trocar segment` with a fake model."""
    return with_a_fake(monkeypatch, tmp_path / "out")


def test_truncated_video_is_processed_as_far_as_it_goes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=60, size=(240, 320), faststart=True)
    content = clip.read_bytes()
    clip.write_bytes(content[: int(len(content) * 0.7)])
    assert run(clip) == 0
    report = read_report(tmp_path / "out")
    assert 10 < report["frames"] < 60
    check_outputs(tmp_path / "out", report["frames"], (240, 320))
    assert not report["complete"]
    assert "clip.mp4" in report["problem"]
    assert "incomplete" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fragments.mp4", "clip.mkv"])
def test_a_truncated_recording_of_a_format_without_a_count_is_said_to_be(
    run: Run, tmp_path: Path, name: str
) -> None:
    """As the recorder writes them, and `trocar phantom --video`."""
    whole = tmp_path / name
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(whole), "w", options=options if whole.suffix == ".mp4" else {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(picture(number, (96, 128)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run(whole) == 0
    assert read_report(tmp_path / "out")["problem"] is None
    assert run(cut, "--force") == 0
    report = read_report(tmp_path / "out")
    assert 5 < report["frames"] < 50
    assert not report["complete"]
    assert cut.name in report["problem"]


def test_a_rate_that_cannot_be_is_not_believed(run: Run, tmp_path: Path) -> None:
    """Matroska without a default duration: the stated rate is that of its clock."""
    path = write_clip(tmp_path / "clip.mp4", frames=20)
    remuxed = tmp_path / "clip.mkv"
    with av.open(str(path)) as source, av.open(str(remuxed), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert run(remuxed) == 0
    assert read_report(tmp_path / "out")["fps"] == pytest.approx(25, abs=0.5)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.mp4", None, "expected a video or a folder of images"),
        ("text.mp4", b"this is no video\n" * 100, "text.mp4: expected a video"),
        ("empty.mp4", b"", "empty.mp4: expected a video"),
    ],
)
def test_what_is_no_video_is_refused(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    expected: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(capsys, run(tmp_path / name), expected)


def test_empty_folder(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    refused(capsys, run(tmp_path / "nothing"), "folder with .png or .jpg images, found none")


def test_video_without_frames(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(capsys, run(path), "sound.mp4: expected a video stream, found none")


def test_unreadable_image_in_a_folder(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), picture(0, (64, 80)))
    (folder / "1.png").write_text("no image")
    refused(capsys, run(folder), "1.png: expected a readable image")
    report = check_outputs(tmp_path / "out", 1, (64, 80))
    assert not report["complete"], "what came before is kept and said to be incomplete"

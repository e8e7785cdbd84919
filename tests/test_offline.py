"""`trocar segment`: every frame in order, and one clear line for everything that is not a video."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from models.tracker import Tracker
from models.types import UNNAMED_ID
from service.cli import main
from streaming.video_file import VideoFile
from tests.clips import picture, write_clip
from tests.fakes import FakeTracker
from tests.foreground import foreground

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`trocar segment` with a fake model."""
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: FakeTracker())

    def command(source: Path, *more: str) -> int:
        return main(["segment", str(source), "-o", str(tmp_path / "out"), *more])

    return command


def refused(capsys: pytest.CaptureFixture[str], code: int, expected: str) -> None:
    """Exit code 2, and the last line of stderr is one sentence with what was expected."""
    assert code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert lines[-1].startswith("trocar: error: ")
    assert expected in lines[-1]
    assert "Traceback" not in "".join(lines)


def read_report(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def check_outputs(out: Path, frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """Masks, lines, video and report agree; returns the report."""
    masks = sorted((out / "masks").iterdir())
    assert [path.name for path in masks] == [f"{i:06d}.png" for i in range(frames)]
    for path in masks:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == size
        assert mask.dtype == np.uint8
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(frames))
    assert all(
        {"present", "confidence", "area", "update"} <= set(lines[0]["classes"][0]) for _ in lines
    )
    assert sum(1 for _ in VideoFile(out / "overlay.mp4")) == frames
    report = read_report(out)
    assert report["frames"] == frames
    return report


def test_every_frame_in_order(run: Run, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    assert run(clip) == 0
    report = check_outputs(tmp_path / "out", 12, (96, 128))
    assert report["complete"]
    for number in (0, 5, 11):  # the mask of a frame is where its own bright square was
        mask = cv2.imread(str(tmp_path / f"out/masks/{number:06d}.png"), cv2.IMREAD_UNCHANGED)
        truth = picture(number, (96, 128))[..., 0] > 150
        assert ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum() > 0.9
    shown = [frame.image_rgb for frame in VideoFile(tmp_path / "out/overlay.mp4")]
    x = int(np.argmax(truth.any(axis=0))) + 8
    green, red = int(shown[11][x, x, 1]), int(shown[11][x, x, 0])
    assert green > red + 30, "the overlay is tinted where the mask is"


def test_folder_of_images_in_natural_order(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (0, 1, 2, 10):
        cv2.imwrite(str(folder / f"f{number}.jpg"), picture(number, (64, 80)))
    assert run(folder) == 0
    check_outputs(tmp_path / "out", 4, (64, 80))
    mask = cv2.imread(str(tmp_path / "out/masks/000003.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert mask[25, 25] == 1, "frame f10 comes last"
    lines = (tmp_path / "out/frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [
        "f0.jpg",
        "f1.jpg",
        "f2.jpg",
        "f10.jpg",
    ]


def test_grey_and_sixteen_bit_images(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), picture(0, (64, 80))[..., 0])
    cv2.imwrite(str(folder / "1.png"), picture(1, (64, 80)).astype(np.uint16) * 257)
    assert run(folder) == 0
    check_outputs(tmp_path / "out", 2, (64, 80))
    for name in ("000000", "000001"):
        mask = cv2.imread(str(tmp_path / f"out/masks/{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask[5, 5] == 1


@pytest.mark.parametrize("size", [(2, 2), (97, 131), (160, 90)], ids=["tiny", "odd", "portrait"])
def test_sizes(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    assert run(write_clip(tmp_path / "clip.mp4", size=size, frames=3)) == 0
    check_outputs(tmp_path / "out", 3, size)


def test_one_pixel(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((1, 1, 3), np.uint8))
    assert run(folder) == 0
    check_outputs(tmp_path / "out", 1, (1, 1))


def test_grey_video(run: Run, tmp_path: Path) -> None:
    assert run(write_clip(tmp_path / "clip.mp4", grey=True, frames=3)) == 0
    check_outputs(tmp_path / "out", 3, (96, 128))


def test_variable_frame_rate_is_kept(run: Run, tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 440, 1000]
    assert run(write_clip(tmp_path / "clip.mp4", frames=6, times_ms=times)) == 0
    lines = (tmp_path / "out/frames.jsonl").read_text().splitlines()
    assert [round(json.loads(line)["time_s"] * 1000) for line in lines] == times
    shown = [round(f.pts_ns / 1e6) for f in VideoFile(tmp_path / "out/overlay.mp4")]
    assert shown == pytest.approx(times, abs=2)


def test_rotation_metadata_is_applied(run: Run, tmp_path: Path) -> None:
    if not (ffmpeg := shutil.which("ffmpeg")):
        if os.environ.get("CI"):
            pytest.fail("ffmpeg is missing")
        pytest.skip("needs the ffmpeg command to write rotation metadata")
    plain, turned = write_clip(tmp_path / "plain.mp4", frames=3), tmp_path / "turned.mp4"
    rotate = ["-c", "copy", "-metadata:s:v:0", "rotate=90"]
    subprocess.run([ffmpeg, "-v", "error", "-i", str(plain), *rotate, str(turned)], check=True)
    shown = str(tmp_path / "shown_%d.png")
    subprocess.run([ffmpeg, "-v", "error", "-i", str(turned), shown], check=True)
    assert run(turned) == 0
    check_outputs(tmp_path / "out", 3, (128, 96))
    upright = cv2.imread(str(tmp_path / "shown_1.png"))
    assert upright is not None
    mask = cv2.imread(str(tmp_path / "out/masks/000000.png"), cv2.IMREAD_UNCHANGED)
    truth = upright.mean(axis=2) > 150
    assert ((mask == 1) & truth).sum() / ((mask == 1) | truth).sum() > 0.9


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


def test_missing_file(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, run(tmp_path / "none.mp4"), "expected a video or a folder of images")


def test_text_named_mp4(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 100)
    refused(capsys, run(path), "text.mp4: expected a video")


def test_empty_file_and_empty_folder(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    refused(capsys, run(path), "empty.mp4: expected a video")
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


def test_output_folder_with_content_needs_force(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", frames=3), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(capsys, run(clip), "not empty")
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt"]
    assert run(clip, "--force") == 0
    assert run(write_clip(tmp_path / "clip.mp4", frames=2), "--force") == 0
    check_outputs(out, 2, (96, 128))
    assert (out / "notes.txt").read_text() == "mine"


def test_masks_drawn_by_hand_are_never_removed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, drawn = tmp_path / "data/clip_000", tmp_path / "data/clip_000/masks/0.png"
    for name in ("images", "masks"):
        (clip / name).mkdir(parents=True)
    cv2.imwrite(str(clip / "images/0.png"), picture(0, (64, 80)))
    drawn.write_bytes(b"an expert's hour")
    (clip / "report.json").write_text("{}")  # somebody else's
    refused(capsys, main(["segment", str(clip / "images"), "-o", str(clip), "--force"]), "hold")
    elsewhere = write_clip(tmp_path / "clip.mp4", frames=2)
    refused(capsys, main(["segment", str(elsewhere), "-o", str(clip), "--force"]), "earlier run")
    assert drawn.read_bytes() == b"an expert's hour"
    assert (clip / "report.json").read_text() == "{}"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/masks").symlink_to(clip / "masks")
    (tmp_path / "out/frames.jsonl").touch()  # what a run that was ended at once leaves
    assert run(elsewhere, "--force") == 0
    check_outputs(tmp_path / "out", 2, (96, 128))
    assert drawn.read_bytes() == b"an expert's hour", "a link is removed, not what it leads to"


@pytest.mark.parametrize("name", ["clip.mp4", "overlay.mp4", "masks/clip.mp4"])
def test_a_source_is_never_overwritten_by_its_result(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(write_clip(tmp_path / "clip.mp4", frames=2)) == 0
    clip = write_clip(tmp_path / "out" / name, frames=2)
    before = clip.read_bytes()
    refused(capsys, run(clip, "--force"), "does not hold the source")
    assert clip.read_bytes() == before


def test_names_with_a_colon(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, as they are typed: FFmpeg takes what comes before the colon for a protocol."""
    write_clip(tmp_path / "10:30.avi", frames=2)
    monkeypatch.chdir(tmp_path)
    assert main(["segment", "10:30.avi", "-o", "11:45"]) == 0
    check_outputs(tmp_path / "11:45", 2, (96, 128))


def test_output_that_cannot_be_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    (tmp_path / "out").write_text("a file in the folder's place")
    refused(capsys, run(clip), "is a file")
    code = main(["segment", str(clip), "-o", str(tmp_path / "out" / "below")])
    refused(capsys, code, "cannot write to output folder")


def test_a_bad_source_leaves_no_output_behind(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "none.mp4") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04}q\x00.", b"x" * 100])
def test_wrong_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    clip, profile = write_clip(tmp_path / "clip.mp4", frames=2), tmp_path / "p.safetensors"
    profile.write_bytes(content)
    out = tmp_path / "out"
    code = main(["segment", str(clip), "-o", str(out), "--profile", str(profile)])
    refused(capsys, code, "p.safetensors: expected a whole profile")
    assert not out.exists()


def test_instruments_of_unknown_kind_are_grey_and_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: FakeTracker(unnamed=True))
    clip, out = write_clip(tmp_path / "clip.mp4", frames=1), tmp_path / "out"
    assert run(clip) == 0
    mask = cv2.imread(str(out / "masks/000000.png"), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert set(np.unique(mask)) == {0, UNNAMED_ID}
    line = json.loads((out / "frames.jsonl").read_text())
    assert line["unnamed_area"] == pytest.approx(float((mask > 0).mean()), abs=1e-6)
    assert not any(one["present"] for one in line["classes"])
    assert read_report(out)["unnamed_frames"] == 1
    (before,) = VideoFile(clip)
    (after,) = VideoFile(out / "overlay.mp4")
    inside = cv2.erode((mask > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    shift = after.image_rgb[inside].astype(int) - before.image_rgb[inside].astype(int)
    assert np.ptp(shift.mean(axis=0)) < 12, "no colour is favoured"
    assert np.abs(shift).mean() > 4


SLOW_RUN = """
import sys
from models.tracker import Tracker
from service.cli import main
from tests.fakes import FakeTracker
Tracker.open = classmethod(lambda *_, **__: FakeTracker(step_s=0.05))
sys.exit(main(sys.argv[1:]))
"""


def test_interrupt_keeps_what_was_written(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", frames=400, size=(32, 32)), tmp_path / "out"
    command = [sys.executable, "-c", SLOW_RUN, "segment", str(clip), "-o", str(out)]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=root, preexec_fn=foreground
    )
    deadline = time.monotonic() + 60
    while not (out / "masks/000010.png").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    report = read_report(out)
    assert report["problem"] == "interrupted"
    written = len(list((out / "masks").iterdir()))
    assert written >= 11
    lines = (out / "frames.jsonl").read_text().splitlines()
    assert len(lines) == written
    assert sum(1 for _ in VideoFile(out / "overlay.mp4")) == written

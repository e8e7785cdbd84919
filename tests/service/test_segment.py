"""`trocar segment`: every frame in order, and nothing that is not its own written over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.tracking.tracker import Tracker
from models.types import UNNAMED_ID
from service.commands.main import main
from streaming.video_file import VideoFile
from tests.support.clips import picture, write_clip
from tests.support.fakes import FakeTracker
from tests.support.foreground import foreground
from tests.support.segmenting import Run, check_outputs, read_report, refused, with_a_fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`trocar segment` with a fake model."""
    return with_a_fake(monkeypatch, tmp_path / "out")


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
from models.tracking.tracker import Tracker
from service.commands.main import main
from tests.support.fakes import FakeTracker
Tracker.open = classmethod(lambda *_, **__: FakeTracker(step_s=0.05))
sys.exit(main(sys.argv[1:]))
"""


def test_interrupt_keeps_what_was_written(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", frames=400, size=(32, 32)), tmp_path / "out"
    command = [sys.executable, "-c", SLOW_RUN, "segment", str(clip), "-o", str(out)]
    root = Path(__file__).resolve().parents[2]
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

"""`trocar segment` of volumes: every slice, in the order asked for, into labels that overlay."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.tracking.tracker import Tracker
from models.types import Segmentation, UInt8Array
from models.volumes import Window, open_volume, read_labels
from models.volumes.phantom import BodyConfig, PhantomVolume, phantom_volume
from service.commands.main import main
from tests.models.test_volumes import FORMATS, OBLIQUE, PLAIN, broken, write
from tests.support.clips import write_clip
from tests.support.fakes import FakeTracker
from tests.support.segmenting import refused

Run = Callable[..., int]
STRAIGHT = BodyConfig(shape=(24, 20, 9), spacing_mm=(2, 2, 6), flipped=(False, True, False))


@dataclass
class CountingTracker(FakeTracker):
    """Paints the whole slice with the number of steps that its state has seen."""

    stop_at: int = 0

    def step(self, image_rgb: UInt8Array) -> Segmentation:
        """Count, and be interrupted where the script says so."""
        result = self.segment(image_rgb)
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        painted = np.full(image_rgb.shape[:2], self.steps, np.uint8)
        return Segmentation(painted, result.results, 0.0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`trocar segment` with a fake model."""

    def command(source: Path, *more: str, tracker: FakeTracker | None = None) -> int:
        monkeypatch.setattr(Tracker, "open", lambda *_, **__: tracker or FakeTracker())
        return main(["segment", str(source), "-o", str(tmp_path / "out"), *more])

    return command


def stored(
    tmp_path: Path, config: BodyConfig, name: str = "v.nii.gz"
) -> tuple[Path, PhantomVolume]:
    """A phantom body on disk."""
    body = phantom_volume(0, config)
    return write(tmp_path / name, body.voxels, body.grid), body


def report_of(tmp_path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((tmp_path / "out/report.json").read_text())
    return report


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("config", [OBLIQUE, STRAIGHT, PLAIN], ids=["oblique", "flipped", "plain"])
def test_labels_overlay_voxel_by_voxel_and_in_the_world(
    run: Run, tmp_path: Path, name: str, config: BodyConfig
) -> None:
    path, body = stored(tmp_path, config, name)
    assert run(path) == 0
    image, labels = open_volume(path), open_volume(tmp_path / f"out/labels{name.removeprefix('v')}")
    found = read_labels(labels, image)
    bright = Window(-125, 275).grey(body.voxels) > 150
    assert 0.02 < bright.mean() < 0.5
    assert np.array_equal(found == 1, bright), "each label lies on the voxel it was found in"
    for index in np.argwhere(found)[:: max(1, len(np.argwhere(found)) // 5)]:
        assert np.array_equal(labels.grid.world(index), image.grid.world(index))
        assert labels.grid.world(index) == pytest.approx(body.grid.world(index), abs=1e-4)


def test_what_a_run_leaves(run: Run, tmp_path: Path) -> None:
    path, body = stored(tmp_path, STRAIGHT)
    assert run(path) == 0
    report = report_of(tmp_path)
    assert report["complete"]
    assert (report["slices"], report["slice_axis"], report["order"]) == (9, 2, "middle-out")
    assert report["shape"] == [24, 20, 9]
    assert report["spacing_mm"] == pytest.approx([2, 2, 6])
    assert report["window"] == {"low": -125, "high": 275, "why": "looks like Hounsfield units"}
    bright = (Window(-125, 275).grey(body.voxels) > 150).sum()
    assert report["classes"][0]["volume_ml"] == pytest.approx(bright * 24 / 1000, abs=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "out/slices.jsonl").read_text().splitlines()]
    assert [line["slice"] for line in lines] == [4, 5, 6, 7, 8, 3, 2, 1, 0]
    sheet = cv2.imread(str(tmp_path / "out/overlay.png"))
    assert sheet is not None
    blue, green, red = (sheet[..., channel].astype(int) for channel in range(3))
    assert ((green > red + 30) & (green > blue + 30)).any(), "class 1 is green"


def test_a_label_is_a_class_or_nothing(run: Run, tmp_path: Path) -> None:
    path, _ = stored(tmp_path, STRAIGHT)
    assert run(path, tracker=FakeTracker(unnamed=True)) == 0
    assert not open_volume(tmp_path / "out/labels.nii.gz").read().any()
    assert report_of(tmp_path)["unnamed_slices"] > 0, "but it is told"


def test_both_halves_start_from_the_middle(run: Run, tmp_path: Path) -> None:
    path, _ = stored(tmp_path, STRAIGHT)
    assert run(path, tracker=CountingTracker()) == 0
    labels = open_volume(tmp_path / "out/labels.nii.gz").read()
    assert labels[0, 0].tolist() == [5, 4, 3, 2, 1, 2, 3, 4, 5]


def test_in_order_and_another_axis_and_window(run: Run, tmp_path: Path) -> None:
    path, _ = stored(tmp_path, STRAIGHT)
    options = ("--order", "in-order", "--slice-axis", "0", "--window", "-50", "150.5")
    assert run(path, *options, tracker=CountingTracker()) == 0
    labels = open_volume(tmp_path / "out/labels.nii.gz").read()
    assert labels[:, 3, 3].tolist() == list(range(1, 25))
    report = report_of(tmp_path)
    assert report["slice_axis"] == 0
    assert report["window"] == {"low": -50, "high": 150.5, "why": "given"}


def test_an_interrupted_run_keeps_what_was_done(run: Run, tmp_path: Path) -> None:
    path, _ = stored(tmp_path, STRAIGHT)
    assert run(path, tracker=CountingTracker(stop_at=4)) == 130
    report = report_of(tmp_path)
    assert (report["complete"], report["problem"], report["slices"]) == (False, "interrupted", 3)
    labels = open_volume(tmp_path / "out/labels.nii.gz").read()
    assert labels[0, 0].tolist() == [0, 0, 0, 0, 1, 2, 3, 0, 0]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("truncated v.nii.gz", "v.nii.gz: expected a whole NIfTI volume"),
        ("truncated v.mhd", "v.mhd: expected 2002 bytes of voxels in v.raw"),
        ("2-D", "bad.nii: expected three dimensions, got 2"),
        ("4-D", "bad.nii: expected three dimensions, got 4"),
        ("empty", "bad.nii: expected a whole NIfTI volume"),
        ("NaN", "bad.nii: expected finite voxels, got 1"),
        ("no raw", "v.mhd: expected its voxels in v.raw beside it, found no file"),
    ],
)
def test_a_broken_volume_is_one_line_and_leaves_nothing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    refused(capsys, run(broken(tmp_path, what)), said)
    assert not (tmp_path / "out").exists()


def test_wrong_usage(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = stored(tmp_path, STRAIGHT)
    refused(capsys, run(tmp_path / "none.nii.gz"), "expected a volume, found no file")
    refused(capsys, run(path, "--window", "9", "3"), "expected a window LOW < HIGH, got 9 3")
    refused(capsys, run(path, "--window", "nan", "3"), "expected a window LOW < HIGH")
    here = main(["segment", str(path), "-o", str(tmp_path), "--force"])
    refused(capsys, here, "expected an output folder that does not hold the source")
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    refused(capsys, run(clip, "--order", "in-order"), "--order is for volumes")
    assert run(path) == 0
    refused(capsys, run(path), "not empty")
    assert run(path, "--force") == 0


def test_fit_says_what_labels_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, body = stored(tmp_path, STRAIGHT)
    short = write(tmp_path / "short.nii", body.labels[..., :5], body.grid)
    out = ["-o", str(tmp_path / "p.safetensors")]
    refused(
        capsys, main(["fit", str(path), *out]), "expected labels for each volume, got 1 volumes"
    )
    code = main(["fit", str(path), "--labels", str(short), *out])
    refused(capsys, code, "short.nii: does not overlay v.nii.gz: expected shape 24x20x9")
    code = main(["fit", str(tmp_path), "--labels", str(short), *out])
    refused(capsys, code, "--labels is for volumes")
    assert not (tmp_path / "p.safetensors").exists()


def test_fit_on_a_volume_and_segment_another(tmp_path: Path) -> None:
    """The embedded model, end to end. It has only ever seen instruments: what it finds of organs is
    little, but that little lies in organs far more often than chance would have it.
    """
    config = BodyConfig(organs=2, shape=(64, 56, 6), spacing_mm=(3, 3, 9), turned=(6, 4))
    for seed in (1, 2):
        body = phantom_volume(seed, config)
        write(tmp_path / f"ct{seed}.nii.gz", body.voxels, body.grid)
        write(tmp_path / f"organs{seed}.nii.gz", body.labels, body.grid)
    profile, out = tmp_path / "organs.safetensors", tmp_path / "out"
    fit = ["fit", str(tmp_path / "ct1.nii.gz"), "--labels", str(tmp_path / "organs1.nii.gz")]
    assert main([*fit, "-o", str(profile)]) == 0
    segment = ["segment", str(tmp_path / "ct2.nii.gz"), "--profile", str(profile), "-o", str(out)]
    assert main(segment) == 0
    image = open_volume(tmp_path / "ct2.nii.gz")
    found = read_labels(open_volume(out / "labels.nii.gz"), image) > 0
    truth = read_labels(open_volume(tmp_path / "organs2.nii.gz"), image) > 0
    assert (found & truth).sum() / found.sum() > 5 * truth.mean()

"""`trocar data`: small data sets are made, checked and drawn; wrong ones refused in one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from models.datasets.autolaparo import TOOLS
from models.datasets.registry import LAYOUTS
from models.method.profile import load_profile
from service.commands.main import main


def test_make_check_and_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, sheet = tmp_path / "data", tmp_path / "sheets/sheet.png"
    small = ["--sequences", "2", "--frames", "2", "--size", "160x120", "--seed", "2"]
    assert main(["data", "make", "autolaparo", str(data), *small]) == 0
    assert main(["data", "make", "autolaparo", str(data), *small]) == 2
    capsys.readouterr()
    command = ["data", "check", "autolaparo", str(data), "-o", str(sheet), "-c", "uterus=true"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 sequences of 2 groups (patients, videos), 4 frames, 4 annotated" in said
    assert "train 2" in said
    assert "160x120 (4)" in said
    uterus = next(line for line in said.splitlines() if "uterus" in line)
    assert uterus.split()[2] == "4"
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape[1] == 4 * 320
    profile = tmp_path / "p.safetensors"
    fit = ["fit", str(data), "--dataset", "autolaparo", "--shots", "1", "-o", str(profile)]
    assert main(fit) == 0
    assert {spec.name for spec in load_profile(profile).classes} <= set(TOOLS)


def test_a_wrong_folder_and_a_wrong_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    small = ["--sequences", "1", "--frames", "1", "--size", "64x48"]
    assert main(["data", "make", "coco", str(data), *small]) == 0
    for command, expected in (
        (
            ["check", "davis", str(data)],
            "expected a folder JPEGImages/480p, found none (it opens as",
        ),
        (["check", "imagenet", str(data)], "expected a data set of autolaparo, "),
        (["make", "imagenet", str(tmp_path / "other")], "expected a data set of autolaparo, "),
        (["check", "coco", str(data), "-c", "parts=kept"], "expected choices of sequence, empty"),
        (["check", "coco", str(data), "-o", str(tmp_path / "sheet.xyz")], "an image file such as"),
    ):
        capsys.readouterr()
        assert main(["data", *command]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("trocar: error: ")
        assert expected in error
    assert not (tmp_path / "other").exists()


def test_frames_alone_are_not_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "clip/images/a.png"), cv2.UMat(8, 8, cv2.CV_8UC3).get())
    (tmp_path / "classes.json").write_text('{"classes": [{"id": 1, "name": "a"}]}')
    assert main(["data", "check", "folder", str(tmp_path)]) == 2
    assert "expected annotated frames, found only frames" in capsys.readouterr().err


def test_list_names_every_layout_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    for name, layout in LAYOUTS.items():
        assert name in said
        assert all(f"{choice}=" in said for choice in layout.choices())

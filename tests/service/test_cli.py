"""The command line: instant help, one line for bad input, the README's commands."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.method.profile import load_profile, save_profile
from service.commands.main import main
from tests.support.clips import write_clip


def test_help_is_instant_and_loads_no_model() -> None:
    code = (
        "import sys; from service.commands.main import build_parser;"
        "build_parser(); print('torch' in sys.modules)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["segment"], "required"),
        (["segment", "x", "-o", "y", "--gamma", "2"], "expected a number from 0 to 1"),
        (["phantom", "x", "--size", "big"], "expected WIDTHxHEIGHT"),
        (["phantom", "x", "--clips", "0"], "whole number from 1"),
        (["phantom", "x", "--fps", "0"], "frames a second"),
        (["phantom", "x", "--seed", "-1"], "whole number from 0"),
        (["serve", "--port", "99999"], "port from 0 to 65535"),
        (["fit", "x", "-o", "y", "--adapt", "steps=0"], "expected auto, off or steps=N"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        ("size", "expected the image's size"),
        ("id", "id 99 is not declared"),
        ("masks", "found no masks at all"),
        ("json", "not valid JSON"),
        ("gone", "found none at"),
    ],
)
def test_fit_refuses_broken_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: str, expected: str
) -> None:
    data, out = tmp_path / "data", tmp_path / "p.safetensors"
    assert main(["phantom", str(data), "--clips", "1", "--frames", "2", "--size", "64x48"]) == 0
    masks = sorted((data / "clip_000/masks").iterdir())
    for path in masks:
        if break_it == "size":
            cv2.imwrite(str(path), np.zeros((10, 10), np.uint8))
        elif break_it == "id":
            cv2.imwrite(str(path), np.full((48, 64), 99, np.uint8))
        elif break_it == "masks":
            path.unlink()
    if break_it == "json":
        (data / "classes.json").write_text("{")
    capsys.readouterr()
    source = data if break_it != "gone" else tmp_path / "none"
    assert main(["fit", str(source), "-o", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("trocar: error: ")
    assert expected in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"backbone": "tiny"}, "get them with `trocar weights fetch tiny`"),
        ({"backbone_sha256": "0" * 64}, "fit it again"),
    ],
)
def test_segment_refuses_a_profile_whose_weights_are_not_here(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setenv("TROCAR_WEIGHTS", str(tmp_path / "none"))
    clip, profile = write_clip(tmp_path / "clip.mp4", frames=3), tmp_path / "p.safetensors"
    save_profile(replace(load_profile("instrument"), **change), profile)
    out = tmp_path / "out"
    assert main(["segment", str(clip), "-o", str(out), "--profile", str(profile)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("trocar: error: ")
    assert expected in error
    assert not list(out.glob("*"))


def test_phantom_fit_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The main job, with nothing but the command line, on a procedure of middling difficulty."""
    data, profile, out = tmp_path / "data", tmp_path / "p.safetensors", tmp_path / "out"
    size = ["--size", "160x120", "--seed", "9", "--fps", "4", "--video"]
    assert main(["phantom", str(data), "--clips", "2", "--frames", "8", *size]) == 0
    assert main(["phantom", str(data)]) == 2, "a folder with content is not written into"
    fit = ["fit", str(data), "-o", str(profile), "--shots", "8", "--adapt", "steps=2"]
    assert main(fit) == 0
    classes = json.loads((data / "classes.json").read_text())["classes"]
    fitted = [spec.name for spec in load_profile(profile).classes]
    assert set(fitted) <= {c["name"] for c in classes}
    clip = str(data / "clip_001.mp4")
    assert main(["segment", clip, "-o", str(out), "--profile", str(profile)]) == 0
    overlap, union = 0, 0
    for path in sorted((out / "masks").iterdir()):
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        truth = cv2.imread(str(data / "clip_001/masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert found is not None
        assert truth is not None
        overlap += int(((found > 0) & (truth > 0)).sum())
        union += int(((found > 0) | (truth > 0)).sum())
    assert overlap / union > 0.5
    said = capsys.readouterr().out
    assert "held-out annotated frames" in said
    assert "instance head" in said, "adapted, or kept as it is"

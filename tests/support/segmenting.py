"""`trocar segment` with a fake model: what it leaves behind, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.tracking.tracker import Tracker
from service.commands.main import main
from streaming.video_file import VideoFile
from tests.support.fakes import FakeTracker

Run = Callable[..., int]


def with_a_fake(monkeypatch: pytest.MonkeyPatch, out: Path) -> Run:
    """`trocar segment` into a folder, with a fake model."""
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: FakeTracker())

    def command(source: Path, *more: str) -> int:
        return main(["segment", str(source), "-o", str(out), *more])

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

"""`trocar weights`, and the commands that find by name and hash what it fetched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.backbone.architecture import build_sam2
from models.config import TINY
from models.datasets.phantom_folder import PhantomFolderConfig, write_phantom
from models.errors import CheckpointError
from models.method.checkpoint import sha256_of
from models.method.weight_source import OFFICIAL_FILES, WeightFolder, WeightSource
from service.commands.main import main
from tests.support.file_server import Served, serving
from tests.support.foreground import foreground
from tests.support.official_checkpoint import write_checkpoint

TINY_FILE = OFFICIAL_FILES["tiny"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's weights go."""
    monkeypatch.setenv("TROCAR_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A mirror of tiny."""
    content = write_checkpoint(tmp_path / "served.pt", "tiny").read_bytes()
    with serving(Served(content)) as one:
        yield one


def fetch(*more: str) -> int:
    return main(["weights", "fetch", "tiny", *more])


def test_fetched_whole_verified_pinned_and_listed(
    folder: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.cuts = [100_000]
    assert fetch("--address", served.url) == 0
    digest = sha256_of(folder / TINY_FILE)
    assert digest in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [TINY_FILE, "sha256.json"]
    assert json.loads((folder / "sha256.json").read_text()) == {TINY_FILE: digest}
    seen = len(served.requests)
    assert fetch("--address", served.url) == 0
    assert len(served.requests) == seen, "what is there is not fetched again"
    assert WeightFolder(folder).load("tiny").sha256 == digest
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    assert f"{digest}  verified" in said
    assert said.count("not fetched") == 3


def test_a_file_that_changed_on_the_disk_is_refused_at_every_load(
    folder: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("--address", served.url) == 0
    write_checkpoint(folder / TINY_FILE, "tiny", value=7.0)
    with pytest.raises(CheckpointError, match=f"{TINY_FILE}: expected SHA-256"):
        WeightFolder(folder).load("tiny")
    assert main(["weights", "list"]) == 1
    assert "remove it and fetch it again" in capsys.readouterr().out
    assert fetch("--address", served.url) == 2
    (folder / TINY_FILE).unlink()
    assert fetch("--address", served.url) == 0
    assert WeightFolder(folder).load("tiny").name == "tiny"


def test_what_the_server_changed_does_not_replace_what_was_pinned(
    folder: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("--address", served.url) == 0
    (folder / TINY_FILE).unlink()
    served.content = write_checkpoint(tmp_path / "other.pt", "tiny", value=7.0).read_bytes()
    served.etag = '"two"'
    assert fetch("--address", served.url) == 2
    assert "expected SHA-256" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["sha256.json"]


@pytest.mark.parametrize("content", [b"<html>sign in</html>", None])
def test_what_is_no_checkpoint_is_not_kept_nor_pinned(
    folder: Path, served: Served, tmp_path: Path, content: bytes | None
) -> None:
    broken = write_checkpoint(tmp_path / "broken.pt", "tiny", change="missing").read_bytes()
    served.content = broken if content is None else content
    assert fetch("--address", served.url) == 2
    assert list(folder.iterdir()) == []


def test_a_hash_that_was_given_decides(
    folder: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("--address", served.url, "--sha256", "0" * 64) == 2
    assert list(folder.iterdir()) == []
    right = sha256_of(folder.parent / "served.pt")
    assert fetch("--address", served.url, "--sha256", right.upper()) == 0
    capsys.readouterr()
    assert fetch("--address", served.url, "--sha256", "0" * 64) == 2
    assert "is pinned to SHA-256" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fetch("--sha256", "abc")
    assert "expected 64 hexadecimal digits" in capsys.readouterr().err


def test_from_a_file_where_there_is_no_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = write_checkpoint(tmp_path / "usb.pt", "tiny")
    out = tmp_path / "elsewhere"
    assert fetch("--from", str(there), "--to", str(out)) == 0
    assert (out / TINY_FILE).read_bytes() == there.read_bytes()
    assert fetch("--from", str(tmp_path / "none.pt"), "--to", str(tmp_path / "new")) == 2
    assert "expected a checkpoint at" in capsys.readouterr().err
    wrong = write_checkpoint(tmp_path / "small.pt", "small")
    assert fetch("--from", str(wrong), "--to", str(tmp_path / "new")) == 2
    assert "unexpected" in capsys.readouterr().err


def test_an_interrupted_fetch_leaves_what_came_and_goes_on(folder: Path, served: Served) -> None:
    served.cuts, served.stall = [100_000], True
    arguments = ["weights", "fetch", "tiny", "--address", served.url]
    command = [sys.executable, "-m", "service.commands.main", *arguments]
    part = folder / f"{TINY_FILE}.part"
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ, preexec_fn=foreground
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not (part.is_file() and part.stat().st_size == 100_000):
                assert time.monotonic() < deadline, "nothing came"
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert part.stat().st_size == 100_000
    assert not (folder / TINY_FILE).exists()
    served.stall = False
    assert main(arguments) == 0
    assert served.requests[-1]["Range"] == "bytes=100000-"


def test_only_what_was_fetched_is_found_and_the_way_to_it_is_said(tmp_path: Path) -> None:
    source = WeightSource(WeightFolder(tmp_path))
    assert source.load("nano").name == "nano"
    with pytest.raises(CheckpointError, match="get them with `trocar weights fetch large`"):
        source.load("large")
    write_checkpoint(tmp_path / TINY_FILE, "tiny")
    with pytest.raises(CheckpointError, match="fetch tiny"):
        source.load("tiny")  # nobody verified it
    with pytest.raises(CheckpointError, match="expected a backbone of nano, tiny"):
        source.load("huge")
    (tmp_path / "sha256.json").write_text("not JSON")
    with pytest.raises(CheckpointError, match=r"sha256\.json: expected JSON"):
        source.load("tiny")


def test_fit_and_segment_on_an_official_backbone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random weights of the real architecture, saved in full, at its 1024 pixels; one class."""
    torch.manual_seed(0)
    full = tmp_path / "full.pt"
    torch.save({"model": build_sam2(TINY).state_dict()}, full)
    assert fetch("--from", str(full)) == 0
    data = tmp_path / "data"
    for _ in write_phantom(data, PhantomFolderConfig(1, 2, (120, 160), 4, 3)):
        pass
    one = {"classes": [{"id": 1, "name": "instrument", "color": "#3fb950"}]}
    (data / "classes.json").write_text(json.dumps(one))
    for file in data.glob("*/masks/*.png"):
        shown = cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 0
        cv2.imwrite(str(file), shown.astype(np.uint8))
    images = next(data.glob("*/images"))
    profile, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    fit = ["fit", str(data), "-o", str(profile), "--shots", "1", "--backbone", "tiny"]
    segment = ["segment", str(images), "--profile", str(profile), "--engine", "torch", "-o"]
    assert main(fit) == 0
    assert main([*segment, str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["frames"] == 2
    capsys.readouterr()

    other = write_checkpoint(tmp_path / "other.pt", "tiny")
    assert main([*segment, str(tmp_path / "a"), "--checkpoint", str(other)]) == 2
    assert "profile was fitted on weights" in capsys.readouterr().err
    (folder / TINY_FILE).unlink()
    for command in (fit, [*segment, str(tmp_path / "b")]):
        assert main(command) == 2
        assert "`trocar weights fetch tiny`" in capsys.readouterr().err
    assert main([*segment, str(tmp_path / "c"), "--checkpoint", str(full)]) == 0

"""Official checkpoints: all four architectures load strictly, by hash, and without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from models.backbone.architecture import build_sam2
from models.config import BACKBONES, TINY
from models.errors import CheckpointError
from models.method.checkpoint import load_official, sha256_of
from models.method.weight_source import OFFICIAL_FILES
from tests.support.official_checkpoint import shapes, write_checkpoint

# Million parameters, from the table in the README of facebookresearch/sam2.
SIZES = {"tiny": 38.9, "small": 46.0, "base_plus": 80.8, "large": 224.4}

every_backbone = pytest.mark.parametrize("backbone", OFFICIAL_FILES)


@every_backbone
def test_a_whole_checkpoint_is_accepted(backbone: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "whole.pt", backbone, value=0.25)
    loaded = load_official(path, BACKBONES[backbone], sha256=sha256_of(path))
    parameters = list(loaded.model.backbone.sam.parameters())
    count = sum(one.numel() for one in parameters)
    assert count / 1e6 == pytest.approx(SIZES[backbone], rel=0.005), "not the published network"
    assert all((one == 0.25).all() for one in parameters)
    assert not any(one.requires_grad for one in parameters)
    assert loaded.name == backbone


@every_backbone
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("missing", "1 missing, 0 unexpected .*no_mem_embed"),
        ("extra", "0 missing, 1 unexpected .*surplus"),
        ("shape", r"no_mem_embed should be \(1, 1, 256\), is \(1, 1, 7\)"),
    ],
)
def test_other_keys_and_shapes_are_refused(
    backbone: str, tmp_path: Path, change: str, expected: str
) -> None:
    path = write_checkpoint(tmp_path / "changed.pt", backbone, change=change)
    with pytest.raises(CheckpointError, match=expected):
        load_official(path, BACKBONES[backbone])


@every_backbone
def test_another_hash_is_refused(backbone: str, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "whole.pt", backbone)
    with pytest.raises(CheckpointError, match="expected SHA-256 0000"):
        load_official(path, BACKBONES[backbone], sha256="0" * 64)


class Harmful:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@every_backbone
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_with_code_is_refused_and_the_code_not_run(
    backbone: str, tmp_path: Path, zipped: bool
) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    content = {"model": dict.fromkeys(shapes(backbone), 0), "more": Harmful(trace)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match="not a safe torch checkpoint") as caught:
        load_official(path, BACKBONES[backbone])
    assert not trace.exists()
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no file"):
        load_official(tmp_path / "none.pt", TINY)
    for name, text in {"page.pt": b"<html>sign in</html>", "empty.pt": b""}.items():
        (tmp_path / name).write_bytes(text)
        with pytest.raises(CheckpointError, match=f"{name}: not a safe torch checkpoint"):
            load_official(tmp_path / name, TINY)
    whole = tmp_path / "whole.pt"
    torch.save({"model": build_sam2(TINY).state_dict()}, whole)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:10_000_000])
    with pytest.raises(CheckpointError, match=r"cut\.pt: not a safe torch checkpoint"):
        load_official(cut, TINY)
    for content in ([1, 2], {"model": [1, 2]}, {"model": dict.fromkeys(shapes("tiny"), 1)}):
        torch.save(content, cut)
        with pytest.raises(CheckpointError, match=r'cut\.pt: expected \{"model": state dict\}'):
            load_official(cut, TINY)

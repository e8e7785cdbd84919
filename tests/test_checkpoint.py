"""Official checkpoints load strictly and without code; so do our own weights."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from models.annotated import AnnotatedFrames
from models.architecture import build_sam2
from models.checkpoint import (
    LoadedWeights,
    load_embedded,
    load_official,
    save_embedded,
    sha256_of,
)
from models.config import NANO, TINY, FitConfig
from models.errors import CheckpointError
from models.fit import fit_frames
from models.phantom import Procedure
from models.tracker import Tracker
from models.types import ClassSpec


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official format of SAM2.1 tiny, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("official") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": build_sam2(TINY).state_dict()}, path)
    return path


def changed(official: Path, tmp_path: Path, change: str) -> Path:
    content = torch.load(official, weights_only=True)
    state = content["model"]
    if change == "missing":
        del state["no_mem_embed"]
    elif change == "extra":
        state["surplus"] = torch.zeros(1)
    else:
        state["no_mem_embed"] = torch.zeros(1, 1, 7)
    path = tmp_path / "changed.pt"
    torch.save(content, path)
    return path


def test_tiny_has_the_published_size() -> None:
    assert sum(p.numel() for p in build_sam2(TINY).parameters()) == pytest.approx(38.9e6, rel=0.01)


def test_official_checkpoint_runs_the_same_pipeline_at_1024_pixels(official: Path) -> None:
    weights = load_official(official, TINY, sha256=sha256_of(official))
    frame = Procedure(1).clip(0, size=(256, 256)).render(0.0)
    kind = int(np.unique(frame.class_mask)[-1])
    assert kind, "the frame must show an instrument"
    spec = (ClassSpec(kind, "tool", "#3fb950"),)
    pair = [(frame.image_rgb, frame.class_mask)]
    profile, _ = fit_frames(weights, spec, AnnotatedFrames.of(pair, [kind], 1024), FitConfig())
    result = Tracker(weights, profile).step(frame.image_rgb)
    assert result.class_map.shape == (256, 256)
    assert 0 <= result.results[0].confidence <= 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("missing", "1 missing, 0 unexpected .*no_mem_embed"),
        ("extra", "0 missing, 1 unexpected .*surplus"),
        ("shape", r"no_mem_embed should be \(1, 1, 256\), is \(1, 1, 7\)"),
    ],
)
def test_other_keys_and_shapes_are_refused(
    official: Path, tmp_path: Path, change: str, expected: str
) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load_official(changed(official, tmp_path, change), TINY)


def test_wrong_hash_and_missing_file_are_refused(official: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected SHA-256 0000"):
        load_official(official, TINY, sha256="0" * 64)
    with pytest.raises(CheckpointError, match="found no file"):
        load_official(tmp_path / "none.pt", TINY)


class Harmful:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"model": Harmful(trace)}, protocol=2))
    with pytest.raises(CheckpointError, match="not a safe torch checkpoint") as caught:
        load_official(path, TINY)
    assert not trace.exists()
    assert "\n" not in str(caught.value)


def test_embedded_weights_are_small_and_round_trip(weights: LoadedWeights, tmp_path: Path) -> None:
    path = tmp_path / "again.safetensors"
    save_embedded(weights.model, weights.ridge, path)
    again = load_embedded(path)
    assert path.stat().st_size <= 12_000_000
    for key, value in weights.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
    assert again.ridge == weights.ridge
    assert again.name == NANO.name


@pytest.mark.parametrize("keep", [0, 100, 100_000])
def test_a_truncated_file_is_refused(weights: LoadedWeights, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    save_embedded(weights.model, weights.ridge, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_embedded(path)

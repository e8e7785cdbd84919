"""Our own weights round-trip and load strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.config import NANO
from models.errors import CheckpointError
from models.method.checkpoint import LoadedWeights, load_embedded, save_embedded


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

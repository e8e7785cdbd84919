"""Pretraining: both stages run, stop, resume and ship loadable weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.method.checkpoint import load_embedded
from models.training.pretrain import PretrainConfig, Trainer, pretrain

CONFIG = PretrainConfig(
    out=Path(), find_steps=2, follow_steps=1, find_procedures=2, follow_procedures=4, pool=16
)


@pytest.mark.timeout(600)
def test_runs_stops_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, out=tmp_path / "run", threads=torch.get_num_threads())
    said: list[str] = []
    honest, steps = Trainer._find_step, []

    def interrupted(self: Trainer) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return honest(self)

    monkeypatch.setattr(Trainer, "_find_step", interrupted)
    pretrain(config, said.append)
    assert "stopped at step 1" in said[-1]
    assert load_embedded(config.out / "nano.safetensors").name == "nano"

    monkeypatch.setattr(Trainer, "_find_step", honest)
    pretrain(config, said.append)
    assert "continuing at step 1 of 3" in said[-2]
    curve = json.loads((config.out / "curve.json").read_text())
    assert curve["step"] == 3
    assert [set(step) & {"found", "fused"} for step in curve["history"]] == [
        {"found"},
        {"found"},
        {"fused"},
    ]
    assert (config.out / "curve.png").stat().st_size > 5000
    weights = load_embedded(config.out / "nano.safetensors")
    assert all(torch.isfinite(p).all() for p in weights.model.parameters())


def test_training_procedures_are_never_test_procedures() -> None:
    from benchmarks.quality import embedded
    from models.training import embedding_fitting as description_fitting
    from models.training import episodes, rendered_frames
    from models.training import ship_weights as embed

    tested = range(embedded.FIRST_SEED, embedded.FIRST_SEED + 20_000)
    assert episodes.TRAINING_SEED not in tested
    assert embed.FIT_SEED < rendered_frames.FIRST_SEED < description_fitting.FIRST_SEED
    assert max(tested) < episodes.VALIDATION_SEED < episodes.TRAINING_SEED < embed.FIT_SEED

"""Which folder of weights is meant: that of an option, else of the environment, else the usual."""

from __future__ import annotations

from pathlib import Path

from models.method.weight_source import FOLDER, WeightFolder, WeightSource
from service.settings import weight_folder


def given_folder(path: Path | None) -> WeightFolder:
    """The folder of an option, else of TROCAR_WEIGHTS, else the usual one."""
    return WeightFolder(path or weight_folder() or FOLDER)


def weight_source(checkpoint: Path | None = None) -> WeightSource:
    """Weights for whoever runs a backbone. checkpoint: a file to use instead"""
    return WeightSource(given_folder(None), checkpoint)

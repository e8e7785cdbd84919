"""Checkpoints of the official format and of every official size, in files of a few kilobytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from models.backbone.architecture import build_sam2
from models.config import BACKBONES


@cache
def shapes(backbone: str) -> dict[str, torch.Size]:
    """Every key of the architecture and its shape, from the network itself."""
    return {key: value.shape for key, value in build_sam2(BACKBONES[backbone]).state_dict().items()}


def state(backbone: str, value: float = 0.5) -> dict[str, Tensor]:
    """A whole state dict whose tensors repeat one stored number each: full shapes, no bulk."""
    return {key: torch.full((), value).expand(shape) for key, shape in shapes(backbone).items()}


def write_checkpoint(path: Path, backbone: str, value: float = 0.5, change: str = "") -> Path:
    """A file as Meta publishes it, {"model": state dict}, or with one thing wrong."""
    tensors = state(backbone, value)
    if change == "missing":
        del tensors["no_mem_embed"]
    elif change == "extra":
        tensors["surplus"] = torch.zeros(1)
    elif change == "shape":
        tensors["no_mem_embed"] = torch.zeros(1, 1, 7)
    torch.save({"model": tensors}, path)
    return path

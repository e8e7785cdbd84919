"""Moves what a tracker holds to the device that its engine runs on."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

Held = TypeVar("Held")


def placed(value: Held, device: torch.device) -> Held:
    """The same dataclass, dictionary or tuple with its tensors on the device; others are kept."""
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device)
    elif isinstance(value, dict):
        moved = {key: placed(one, device) for key, one in value.items()}
    elif isinstance(value, tuple):
        moved = tuple(placed(one, device) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        moved = replace(value, **{key: placed(one, device) for key, one in own.items()})
    kept: Held = moved
    return kept

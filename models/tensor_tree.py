"""Walks through what a tracker holds: dataclasses, dictionaries and tuples of tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Held = TypeVar("Held")
Part = TypeVar("Part", bound=nn.Module)


def mapped(value: Held, change: Callable[[Tensor], Tensor]) -> Held:
    """The same dataclass, dictionary or tuple with its tensors changed; others are kept."""
    new: Any = value
    if isinstance(value, Tensor):
        new = change(value)
    elif isinstance(value, dict):
        new = {key: mapped(one, change) for key, one in value.items()}
    elif isinstance(value, tuple):
        new = tuple(mapped(one, change) for one in value)
    elif is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        new = replace(value, **{key: mapped(one, change) for key, one in own.items()})
    changed: Held = new
    return changed


def placed(value: Held, device: torch.device) -> Held:
    """The same with its tensors on the device."""
    return mapped(value, lambda one: one.to(device))


def module_on(module: Part, device: torch.device) -> Part:
    """The module there: a copy, unless it is there already, for weights are shared."""
    here = next(module.parameters()).device
    return module if here.type == device.type else copy.deepcopy(module).to(device)


def tensors_in(value: Any) -> list[Tensor]:
    """Its tensors, in the order of `mapped`."""
    found: list[Tensor] = []

    def note(one: Tensor) -> Tensor:
        found.append(one)
        return one

    mapped(value, note)
    return found

"""Are a profile's numbers such as `trocar fit` writes them? Asked when a file is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

MOST = 1e9  # of any number; fitted ones stay far below
UNBOUNDED = ("tolerance", "surprise")  # infinite where the learner has no guard
# Of the header's sections: the least and the most of each number.
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "learner": {
        "kernel": (1, 3), "ridge": (0, MOST),
        "online_iterations": (0, 10_000), "gamma": (0, 1), "decay": (0, 1),
        "support_weight": (0, 1), "tolerance": (0, MOST),
    },
    "memory": {"support": (0, 1000), "recent": (0, 1000), "max_pointer_distance": (1, 10_000)},
}  # fmt: skip
NUMBERS = {
    "ridge": (0, MOST), "object_offset": (-1000, 1000), "pixel_weight": (-MOST, MOST),
    "exemplars_alone": (0, 1), "head_weight": (0, 1000),
}  # fmt: skip


def read_header(text: str) -> Any:
    """A profile's header. Raises ValueError, in one line: NaN, numbers without end, too deep."""

    def refuse(constant: str) -> None:
        raise ValueError(f"expected finite numbers, got {constant}")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("expected a header of few levels, got one without end") from error


def check_values(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError, KeyError or TypeError for what the tracker could not work with."""
    _check_numbers("", NUMBERS, header)
    for section, ranges in RANGES.items():
        _check_numbers(section, ranges, header[section])
    rows = _check_classes(header["classes"])
    _check_context(header["learner"]["context"])
    for name, tensor in tensors.items():
        _check_finite(name, tensor)
    _check_rows(rows, tensors)


def _check_numbers(
    section: str, ranges: Mapping[str, tuple[float, float]], values: Mapping[str, Any]
) -> None:
    for key, (least, most) in ranges.items():
        value = values.get(key)
        name = f"{section} {key}".strip()
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"expected a number for {name}, got {str(value)[:40]!r}")
        if not least <= value <= most:
            raise ValueError(f"expected {name} from {least:g} to {most:g}, got {value:g}")


def _check_context(sides: Any) -> None:
    whole = isinstance(sides, list) and all(type(one) is int and 1 <= one <= 255 for one in sides)
    if not whole or len(sides) > 16:
        raise ValueError(f"expected learner context of window sides, got {str(sides)[:40]}")


def _check_classes(classes: Any) -> int:
    """Their number."""
    ids = [spec["class_id"] for spec in classes]
    if not all(type(one) is int and 1 <= one <= 254 for one in ids) or len(set(ids)) < len(ids):
        raise ValueError(f"expected class ids from 1 to 254, each once, got {str(ids)[:60]}")
    if not ids:
        raise ValueError("expected at least one class")
    for spec in classes:
        if not isinstance(spec["name"], str) or not spec["name"].strip():
            raise ValueError(f"expected a class name, got {str(spec['name'])[:40]!r}")
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(spec["color"])):
            raise ValueError(f"expected a color like #3fb950, got {str(spec['color'])[:40]!r}")
    return len(ids)


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.dtype.is_floating_point:
        return
    values = tensor.float()
    allowed = math.inf if name in UNBOUNDED else MOST
    if values.isnan().any() or bool((values.abs() > allowed).any()):
        raise ValueError(f"expected finite numbers of up to {MOST:g} in {name}")


def _check_rows(rows: int, tensors: Mapping[str, Tensor]) -> None:
    """Every tensor of one row a class has as many rows; indices point at one of them."""
    a_class_a_row = (
        "tau", "tolerance", "surprise", "anchor.gram", "anchor.cross", "anchor.energy",
        "support.memory", "support.pointer", "support.present", "calibration.slope",
        "calibration.offset", "indicator",
    )  # fmt: skip
    for name in a_class_a_row:
        tensor = tensors.get(name)
        if tensor is not None and (tensor.ndim == 0 or len(tensor) != rows):
            raise ValueError(f"expected {rows} rows in {name}, got {list(tensor.shape)}")
    samples = len(tensors["support.pooled"])
    for name in ("support.memory", "support.pointer", "support.present"):
        if tensors[name].ndim < 2 or tensors[name].shape[1] != samples:
            raise ValueError(f"expected {samples} samples in {name}")
    row = tensors.get("exemplar.class")
    if row is None:
        return
    if row.dtype.is_floating_point or row.shape != tensors["exemplar.embedding"].shape[:1]:
        raise ValueError("expected a whole number an exemplar in exemplar.class")
    if row.numel() and not (int(row.min()) >= 0 and int(row.max()) < rows):
        raise ValueError(f"expected exemplar.class from 0 to {rows - 1}, got {int(row.max())}")

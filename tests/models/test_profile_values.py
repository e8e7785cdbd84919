"""Profiles whose numbers no fit can have written: refused on reading, in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.errors import ProfileError
from models.method.profile import EMBEDDED, load_profile, save_profile

Header, Tensors = dict[str, Any], dict[str, Tensor]


@pytest.fixture(scope="module")
def parts() -> tuple[str, Tensors]:
    """The embedded profile of four classes: its header as text, and its tensors."""
    with safe_open(EMBEDDED / "phantom.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return file.metadata()["trocar"], tensors


def refused(path: Path, header: str, tensors: Tensors) -> str:
    save_file(tensors, path, metadata={"trocar": header})
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    said = str(caught.value)
    assert said.startswith(f"{path.name}: ")
    assert "\n" not in said
    assert len(said) < 300
    return said


def put(*keys: str | int, value: Any) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        place: Any = header
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put("learner", "gamma", value=math.nan), "got NaN"),
        (put("learner", "gamma", value=math.inf), "got Infinity"),
        (put("learner", "gamma", value=7), "expected learner gamma from 0 to 1, got 7"),
        (put("learner", "gamma", value="0.8"), "expected a number for learner gamma"),
        (put("learner", "online_iterations", value=10**9), "online_iterations from 0 to 10000"),
        (put("learner", "context", value=[5, 10**6]), "expected learner context of window sides"),
        (put("learner", "decay", value=-0.1), "expected learner decay from 0 to 1"),
        (put("memory", "support", value=10**12), "expected memory support from 0 to 1000"),
        (put("memory", "max_pointer_distance", value=0), "max_pointer_distance from 1 to"),
        (put("object_offset", value=1e30), "expected object_offset from -1000 to 1000"),
        (put("references", "alone", value=2), "expected exemplars_alone from 0 to 1"),
        (put("classes", 0, "class_id", value=0), "expected class ids from 1 to 254"),
        (put("classes", 0, "class_id", value=255), "expected class ids from 1 to 254"),
        (put("classes", 1, "class_id", value=1), "each once"),
        (put("classes", 0, "name", value=""), "expected a class name"),
        (put("classes", 0, "color", value="red"), "expected a color like #3fb950"),
        (put("classes", value=[]), "expected at least one class"),
        (put("memory", value=None), "profile is incomplete"),
        (put("fitted_on", "frames", value=math.nan), "got NaN"),
    ],
)
def test_absurd_headers(
    tmp_path: Path, parts: tuple[str, Tensors], change: Callable[[Header], None], expected: str
) -> None:
    header = json.loads(parts[0])
    change(header)
    assert expected in refused(tmp_path / "p.safetensors", json.dumps(header), parts[1])


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"format": ' + "9" * 5000 + "}", '{"a":' * 100_000, "{", "", "null", "[1]"],
    ids=["deep list", "long number", "deep object", "cut", "empty", "null", "list"],
)
def test_headers_that_are_none(tmp_path: Path, parts: tuple[str, Tensors], text: str) -> None:
    refused(tmp_path / "p.safetensors", text, parts[1])


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("tau", lambda t: t * math.nan, "expected finite numbers of up to 1e+09 in tau"),
        ("fusion.gate.bias", lambda t: t + 1e30, "in fusion.gate.bias"),
        ("support.memory", lambda t: t.float() * math.inf, "in support.memory"),
        ("calibration.slope", lambda t: t * math.inf, "in calibration.slope"),
        ("tolerance", lambda t: t * math.nan, "in tolerance"),
        ("reference.row", lambda t: t + 4, "expected exemplar.class from 0 to 3, got 7"),
        ("reference.row", lambda t: t - 1, "expected exemplar.class from 0 to 3"),
        ("reference.row", lambda t: t.float(), "expected a whole number an exemplar"),
        ("reference.row", lambda t: t[:-1], "expected a whole number an exemplar"),
        ("tau", lambda t: t[:2], "expected 4 rows in tau"),
        ("indicator", lambda t: t[:1], "expected 4 rows in indicator"),
        ("support.present", lambda t: t[:, :3], "expected 8 samples in support.present"),
        ("calibration.offset", lambda t: t[0], "expected 4 rows in calibration.offset"),
    ],
)
def test_absurd_tensors(
    tmp_path: Path,
    parts: tuple[str, Tensors],
    name: str,
    change: Callable[[Tensor], Tensor],
    expected: str,
) -> None:
    spoilt = {**parts[1], name: change(parts[1][name]).contiguous()}
    assert expected in refused(tmp_path / "p.safetensors", parts[0], spoilt)


def test_a_learner_without_a_guard_is_none_of_these(
    tmp_path: Path, parts: tuple[str, Tensors]
) -> None:
    """Its tolerance is infinite: so fit writes it where no frame was left out."""
    endless = {**parts[1], "tolerance": torch.full_like(parts[1]["tolerance"], math.inf)}
    save_file(endless, tmp_path / "p.safetensors", metadata={"trocar": parts[0]})
    assert load_profile(tmp_path / "p.safetensors").start.tolerance.isinf().all()


def test_what_is_written_again_holds_no_bare_nan(tmp_path: Path) -> None:
    save_profile(load_profile("phantom"), tmp_path / "p.safetensors")
    with safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        header = file.metadata()["trocar"]
    assert "NaN" not in header
    assert "Infinity" not in header

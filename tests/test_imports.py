"""The directions of the house: who may know whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "models": {"models"},
    "streaming": {"streaming"},
    "service": {"service", "models", "streaming"},
    "benchmarks": {"benchmarks", "service", "models", "streaming"},
}
NEVER = {
    "models": {"asyncio", "fastapi", "aiortc", "av", "uvicorn", "socket"},
    "streaming": {"torch", "fastapi", "sam2"},
    "service": {"torch", "sam2"},
    "benchmarks": set(),
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_in_the_directions_of_the_house(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        for imported in _imports(path):
            assert imported not in set(ALLOWED) - ALLOWED[package], f"{name} imports {imported}"
            assert imported not in NEVER[package], f"{name} imports {imported}"


def test_only_settings_read_the_environment() -> None:
    for package in ("models", "streaming", "service"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "settings.py":
                assert "os.environ" not in path.read_text(), path


def test_weights_are_never_unpickled_with_code() -> None:
    for package in ALLOWED:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), path

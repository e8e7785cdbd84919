"""Result files: what was measured, where, and with which settings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.environment import environment


def result(kind: str, settings: dict[str, Any], note: str, **measured: Any) -> dict[str, Any]:
    """A result with everything that is needed to judge it. note: what else was running, say"""
    said = {"note": note} if note else {}
    chosen = {key: value for key, value in settings.items() if key != "note"}
    head = {"kind": kind, "environment": environment(), "settings": chosen}
    return head | said | measured


def write_result(content: dict[str, Any], path: Path | None) -> None:
    """Write it as JSON, one list or number a line; without a path, or to /dev/null, nothing.

    What is there already is replaced at the end. A number that is none is null.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_char_device():  # /dev/null
        return
    part = path.with_name(f"{path.name}.part")
    part.write_text(_short_lists(content) + "\n")
    part.replace(path)


def _short_lists(content: dict[str, Any]) -> str:
    """Indented JSON in which a list of plain numbers takes one line."""
    lists: list[str] = []

    def mark(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: mark(one) for key, one in value.items()}
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, list) and all(isinstance(one, int | float) for one in value):
            lists.append(json.dumps([mark(one) for one in value]))
            return f"@list{len(lists) - 1}@"
        if isinstance(value, list | tuple):
            return [mark(one) for one in value]
        return value

    text = json.dumps(mark(content), indent=1)
    for number, flat in enumerate(lists):
        text = text.replace(f'"@list{number}@"', flat)
    return text

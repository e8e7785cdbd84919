"""JSON as people have it: with a byte order mark, in UTF-8 or UTF-16; and ids in it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from models.errors import DatasetError

NEAR = 1e-3  # tools that compute with ids write 2.0000001


def read_json(path: Path, where: str) -> Any:
    """What a JSON file holds; where: its name in messages.

    Raises DatasetError: not JSON, nested too deeply, numbers without end.
    """
    try:
        return json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where}: not valid JSON (expected UTF-8, {error.reason})") from error
    except RecursionError as error:
        raise DatasetError(f"{where}: not valid JSON (nested too deeply)") from error
    except ValueError as error:
        raise DatasetError(f"{where}: not valid JSON ({error})") from error


def whole(value: Any) -> int:
    """A number within 1e-3 of a whole one, also as text. Raises ValueError for anything else."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
        near = round(number)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected a whole number, got {str(value)[:40]!r}") from error
    if isinstance(value, bool) or not abs(number - near) <= NEAR:
        raise ValueError(f"expected a whole number, got {str(value)[:40]!r}")
    return near

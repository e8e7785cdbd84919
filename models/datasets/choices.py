"""What a data set may be opened as, each refused in one line that says what was expected."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.errors import DatasetError


def one_of(name: str, value: object, expected: Sequence[object]) -> None:
    """Raises DatasetError unless value is one of those expected."""
    if value not in expected:
        listed = ", ".join(str(one) for one in expected)
        raise DatasetError(f"{name}: expected one of {listed}, got {value!r}")


def within(name: str, value: int, least: int, most: int) -> None:
    """Raises DatasetError unless value is a whole number from least to most."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DatasetError(f"{name}: expected a whole number from {least} to {most}, got {value!r}")


def pattern(name: str, value: str | None) -> None:
    """Raises DatasetError unless value is a regular expression, or None."""
    try:
        re.compile(value or "")
    except (re.error, TypeError) as error:
        raise DatasetError(f"{name}: expected a regular expression, got {value!r}") from error

"""A folder that is written to: made, and refused where that cannot be."""

from __future__ import annotations

import os
from pathlib import Path

from service.errors import UsageError


def prepare_output(out: Path, *, force: bool) -> None:
    """Make a folder for output. Raises UsageError: a file, not writable, or not empty."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected an output folder, {out} is a file")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise UsageError(f"output folder {out} is not empty: choose another, or add --force")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to output folder {out} ({error.strerror})") from error
    if not os.access(out, os.W_OK):
        raise UsageError(f"cannot write to output folder {out} (permission denied)")

"""What can be made again, kept in folders of one cache: ~/.cache/trocar.

Fetched weights lie there too, in a folder of another kind of name; nothing here touches them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

KEPT = 8  # folders of a kind; of more, those unused the longest go
OWN = 0o700


def cache_root() -> Path:
    """Where everything is kept; a place that cannot be written to for a user without a home."""
    try:
        home = Path.home()
    except RuntimeError:  # containers have such users
        home = Path("/nonexistent")
    return home / ".cache" / "trocar"


def writable(cache: Path) -> Path:
    """The cache, or where it cannot be written to a temporary folder of this user alone.

    That is the same every time; another user's folder of its name is not trusted, a fresh one
    takes its place.
    """
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK):
            return cache
    own = Path(tempfile.gettempdir()) / f"trocar-{os.getuid()}"
    with contextlib.suppress(OSError):
        own.mkdir(mode=OWN, exist_ok=True)
        found = own.lstat()
        if (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.getuid(), OWN) and own.is_dir():
            return own
    return Path(tempfile.mkdtemp(prefix="trocar-"))


def mark_used(folder: Path) -> None:
    """It was of use now; a cache that may only be read is as good."""
    with contextlib.suppress(OSError):
        os.utime(folder)


def forget_unused(cache: Path, kind: re.Pattern[str]) -> None:
    """Remove folders whose whole name is of this kind, but for the KEPT last used."""
    known = [one for one in cache.iterdir() if kind.fullmatch(one.name) and one.is_dir()]
    for unused in sorted(known, key=_last_use, reverse=True)[KEPT:]:
        shutil.rmtree(unused, ignore_errors=True)


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0

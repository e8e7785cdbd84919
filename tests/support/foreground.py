"""Children of a test run that hear Ctrl-C, also where the run itself is in the background."""

from __future__ import annotations

import signal


def foreground() -> None:
    """For a child before it starts: a shell's background jobs ignore SIGINT, and their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

"""Logs: a line of text for a terminal, or of JSON for whatever collects them.

A record names the session by its id and an error by its kind and place. What an error says, where
it may quote a file, an address or a name, is left out of both.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TypeVar

Kind = Literal["text", "json"]
Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

SESSION: ContextVar[str | None] = ContextVar("session", default=None)
OURS = ("service", "streaming", "models")

T = TypeVar("T")


class TextLines(logging.Formatter):
    """One line, and the places where an error was raised below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, session, module, message."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        session = f"[{SESSION.get()}] " if SESSION.get() else ""
        lines = [f"{moment} {session}{record.name}: {_said(record)}"]
        if record.exc_info:
            kind, places = _raised(record.exc_info)
            lines += [f"  {kind}", *(f"  {place}" for place in places)]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """time (UTC), level, logger, message; session and error where there is one."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _said(record),
        }
        if SESSION.get():
            line["session"] = SESSION.get()
        if record.exc_info:
            line["error"], line["at"] = _raised(record.exc_info)
        return json.dumps(line)


def configure(kind: Kind) -> None:
    """Send every log of this process to stderr in one form; replaces what was configured."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("aiortc").setLevel(logging.ERROR)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO if kind == "json" else logging.WARNING)


def open_logging(kind: Kind, session_id: str, open_it: Callable[[], T]) -> T:
    """In a process of its own: log as the service does, as that session, then open."""
    configure(kind)
    SESSION.set(session_id)
    return open_it()


def _said(record: logging.LogRecord) -> str:
    """The first line: other libraries put what an error said below it."""
    return (record.getMessage().splitlines() or [""])[0]


def _raised(raised: Raised) -> tuple[str, list[str]]:
    """The kind of an error, and where it was raised, outermost first; not what it says."""
    kind, _, trace = raised
    places = [
        f"{frame.name}, {frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(trace)
    ]
    return ("" if kind is None else kind.__name__), places

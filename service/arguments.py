"""What the command line takes, each refused in one line that says what was expected."""

from __future__ import annotations

import argparse

MOST_ADAPT_STEPS = 2000  # ten minutes and more on two cores


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def adapt_steps(text: str) -> int | None:
    """auto, off or steps=N -> steps, 0 for none, None for what fits the data."""
    if text in ("auto", "off"):
        return None if text == "auto" else 0
    name, _, number = text.partition("=")
    if name != "steps" or not number.isdecimal() or not 1 <= int(number) <= MOST_ADAPT_STEPS:
        raise argparse.ArgumentTypeError(
            f"expected auto, off or steps=N with N from 1 to {MOST_ADAPT_STEPS}, got {text!r}"
        )
    return int(number)


def classes(text: str) -> int:
    """How many classes; ids are a byte, and two of its values mean something else."""
    from models.types import IGNORE_ID

    if not text.isdecimal() or not 1 <= int(text) < IGNORE_ID:
        raise argparse.ArgumentTypeError(f"expected 1 to {IGNORE_ID - 1} classes, got {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 takes a free one."""
    if not text.isdecimal() or not 0 <= int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def capacity(text: str) -> float:
    """Seconds of model a second."""
    return _positive(text, 64, "seconds a second")


def frame_rate(text: str) -> float:
    """Frames a second."""
    return _positive(text, 240, "frames a second")


def _number(text: str) -> float:
    """The number, or one that no option takes."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _positive(text: str, largest: float, what: str) -> float:
    value = _number(text)
    if not 0 < value <= largest:
        raise argparse.ArgumentTypeError(f"expected {what} up to {largest:g}, got {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (height, width)"""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 16 <= int(part) <= 4096 for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected WIDTHxHEIGHT, each from 16 to 4096, got {text!r}"
        )
    return int(parts[1]), int(parts[0])


def sha256(text: str) -> str:
    """A SHA-256 as 64 hexadecimal digits -> in lower case"""
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"expected 64 hexadecimal digits, got {text!r}")
    return text.lower()

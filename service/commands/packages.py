"""What an installation may lack: packages of an extra, and commands that other packages bring."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, requires

from service.errors import UsageError

GROUP = "trocar.commands"  # of entry points, see pyproject.toml
OURS = ("service", "models", "streaming", "benchmarks")

Command = Callable[[Sequence[str]], int]  # its arguments; returns the exit code


def load_command(name: str) -> Command:
    """A command that another package brings. Raises UsageError: none that is installed does."""
    for point in entry_points(group=GROUP, name=name):
        command: Command = point.load()
        return command
    raise UsageError(
        f"expected a package with the command {name} (entry point of {GROUP}), found none installed"
    )


def missing_package(error: ModuleNotFoundError) -> str | None:
    """One line on a package that is not installed; None for a module of ours, which is a fault."""
    package = (error.name or "").split(".")[0]
    if not package or package in OURS:
        return None
    extra = _extra_with(package)
    remedy = f": pip install 'trocar[{extra}]'" if extra else ""
    return f"expected the package {package}, which is not installed{remedy}"


def _extra_with(package: str) -> str | None:
    """The extra of ours that declares a package."""
    try:
        declared = requires("trocar") or []
    except PackageNotFoundError:  # a checkout that was not installed
        return None
    for one in declared:
        name = re.match(r"[\w.-]+", one)
        extra = re.search(r"extra == ['\"](.+?)['\"]", one)
        if name and extra and name[0] == package:
            return extra[1]
    return None

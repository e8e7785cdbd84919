"""Every data set by its name: how it is opened, how it is written, who the phantom plays in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.datasets import autolaparo
from models.datasets.phantom_dataset import PhantomSetConfig, Roles, phantom_dataset
from models.datasets.sequences import Dataset
from models.errors import DatasetError
from models.types import ClassSpec

Choice = str | int | float | bool | None


@dataclass(frozen=True)
class Fixture:
    """How a phantom is written in a layout: its classes, who plays them, the writer."""

    classes: tuple[ClassSpec, ...]
    roles: Roles
    write: Callable[[Dataset, Path], Iterator[int]]


@dataclass(frozen=True)
class Layout:
    """One data set: what it is in a line, its reader, and its fixture where it has one."""

    about: str
    open: Callable[..., Dataset]
    fixture: Fixture | None = None

    def choices(self) -> dict[str, Choice]:
        """What it may be opened with, and the defaults."""
        parameters = inspect.signature(self.open).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


LAYOUTS: dict[str, Layout] = {
    "autolaparo": Layout(
        "AutoLaparo Task 3: four instruments in hysterectomy, clips of six frames at 1 fps",
        autolaparo.open_autolaparo,
        Fixture(autolaparo.PARTS, autolaparo.ROLES, autolaparo.write_autolaparo),
    ),
}


def layout(name: str) -> Layout:
    """The layout of this name. Raises DatasetError, naming those there are."""
    if name not in LAYOUTS:
        raise DatasetError(f"expected a data set of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


def open_dataset(name: str, root: Path, **choices: Choice) -> Dataset:
    """Open the data set `name` in the folder root; choices are those of its own open function.

    Raises DatasetError: an unknown name or choice, or a folder that is not in the layout.
    """
    found = layout(name)
    known = found.choices()
    unknown = sorted(set(choices) - set(known))
    if unknown:
        offered = ", ".join(known) or "none"
        raise DatasetError(f"{name}: expected choices of {offered}, got {unknown[0]!r}")
    return found.open(root, **choices)


def write_fixture(name: str, out: Path, config: PhantomSetConfig) -> Iterator[int]:
    """Write a phantom in the layout `name`, yielding the number of frames written so far.

    Raises DatasetError: an unknown name, or a layout that is only read.
    """
    fixture = layout(name).fixture
    if fixture is None:
        raise DatasetError(f"{name}: expected a layout that can be written, this one is only read")
    yield from fixture.write(phantom_dataset(config, fixture.classes, fixture.roles), out)

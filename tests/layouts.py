"""Small phantom data sets in every layout, and how to open each such that nothing is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.datasets.phantom_dataset import PhantomSetConfig, phantom_dataset
from models.datasets.registry import LAYOUTS, Choice, write_fixture
from models.datasets.sequences import Dataset

TINY = PhantomSetConfig(sequences=3, frames=2, procedures=2, size=(64, 96), seed=2)
EVERYTHING: dict[str, dict[str, Choice]] = {
    "autolaparo": {"parts": "kept", "uterus": True},
    "coco": {"empty": "background"},
    "cvat": {"empty": "background"},
}
WRITTEN = [name for name, layout in LAYOUTS.items() if layout.fixture is not None]


def write_tiny(name: str, out: Path) -> Path:
    """The tiny phantom in this layout."""
    for _ in write_fixture(name, out, TINY):
        pass
    return out


def tiny_phantom(name: str) -> Dataset:
    """What was written, before it was written."""
    fixture = LAYOUTS[name].fixture
    assert fixture is not None
    return phantom_dataset(TINY, fixture.classes, fixture.roles)


def repeated(dataset: Dataset, times: int) -> Dataset:
    """The same sequences again under other names."""
    sequences = tuple(
        replace(one, name=f"{one.name}_{copy}", group=f"{one.group}_{copy}")
        for copy in range(times)
        for one in dataset.sequences
    )
    return replace(dataset, sequences=sequences)

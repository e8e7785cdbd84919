"""Small phantom data sets in every layout, and how to open each such that nothing is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.datasets.phantom_dataset import PhantomSetConfig, phantom_dataset
from models.datasets.registry import LAYOUTS, Choice, write_fixture
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset

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


def plain(name: str, sequences: int) -> Dataset:
    """Black pictures of 240 x 320 with one square each, two to a sequence: nothing to render."""
    fixture = LAYOUTS[name].fixture
    assert fixture is not None
    image = np.zeros((240, 320, 3), np.uint8)
    mask = np.zeros((240, 320), np.uint8)
    mask[20:80, 20:80] = fixture.classes[0].class_id
    frames = tuple(AnnotatedFrame(f"{n:06d}", lambda: image, lambda: mask) for n in range(2))
    named = [f"{number + 1:03d}" for number in range(sequences)]
    listed = tuple(AnnotatedSequence(one, frames, group=one) for one in named)
    return Dataset("plain", Path(), fixture.classes, listed)

"""Every data set by its name: how it is opened, how it is written, who the phantom plays in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.datasets import (
    autolaparo,
    cholecseg8k,
    coco,
    cvat,
    davis,
    endoscapes,
    endovis2017,
    endovis2018,
    folder,
    nifti_folder,
    promise12,
    synapse,
)
from models.datasets.phantom_dataset import PhantomSetConfig, Roles, phantom_dataset
from models.datasets.phantom_volumes import VolumeFixture
from models.datasets.sequences import Dataset
from models.errors import DatasetError
from models.phantom import CLASSES
from models.types import ClassSpec

Choice = str | int | bool | None


@dataclass(frozen=True)
class Fixture:
    """How a phantom is written in a layout: its classes, who plays them, the writer."""

    classes: tuple[ClassSpec, ...]
    roles: Roles
    write: Callable[[Dataset, Path], Iterator[int]]


@dataclass(frozen=True)
class Layout:
    """One data set: what it is in a line, its reader, and how a phantom is written in it."""

    about: str
    open: Callable[..., Dataset]
    fixture: Fixture | None = None
    bodies: VolumeFixture | None = None  # in the fixture's place where frames are slices

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
    "cholecseg8k": Layout(
        "CholecSeg8k: tissue, grasper and hook in cholecystectomy, clips of 80 frames at 25 fps",
        cholecseg8k.open_cholecseg8k,
        Fixture(cholecseg8k.CLASSES, cholecseg8k.ROLES, cholecseg8k.write_cholecseg8k),
    ),
    "endoscapes": Layout(
        "Endoscapes-Seg50: hepatocystic anatomy and tools in cholecystectomy, sparse frames",
        endoscapes.open_endoscapes,
        Fixture(endoscapes.CLASSES, endoscapes.ROLES, endoscapes.write_endoscapes),
    ),
    "endovis2017": Layout(
        "EndoVis 2017: robotic instruments by type, part or alone, 225 frames at 2 Hz",
        endovis2017.open_endovis2017,
        Fixture(endovis2017.TYPES, endovis2017.ROLES, endovis2017.write_endovis2017),
    ),
    "endovis2018": Layout(
        "EndoVis 2018: robotic nephrectomy, the scene or the instruments, 149 frames at 2 Hz",
        endovis2018.open_endovis2018,
        Fixture(endovis2018.SCENE, endovis2018.ROLES, endovis2018.write_endovis2018),
    ),
    "synapse": Layout(
        "Synapse-CT (BTCV): eight abdominal organs, raw NIfTI or TransUNet's npz and h5",
        synapse.open_synapse,
        bodies=VolumeFixture(synapse.write_synapse_raw, organs=8),
    ),
    "promise12": Layout(
        "PROMISE12: the prostate in T2-weighted MR, mhd and raw",
        promise12.open_promise12,
        bodies=VolumeFixture(promise12.write_promise12, organs=1, mr=True),
    ),
    "nifti": Layout(
        "volumes in imagesTr and labelsTr, as in the Medical Segmentation Decathlon",
        nifti_folder.open_nifti_folder,
        bodies=VolumeFixture(nifti_folder.write_nifti_folder, organs=3),
    ),
    "davis": Layout(
        "the layout of DAVIS: sequences of images and palette masks of numbered objects",
        davis.open_davis,
        Fixture(davis.FIXTURE_CLASSES, davis.ROLES, davis.write_davis),
    ),
    "coco": Layout(
        "exports in COCO's format: polygons and run lengths in JSON",
        coco.open_coco,
        Fixture(coco.FIXTURE_CLASSES, coco.ROLES, coco.write_coco),
    ),
    "cvat": Layout(
        "CVAT for images 1.1 and for video 1.1: polygons and masks in XML",
        cvat.open_cvat,
        Fixture(cvat.FIXTURE_CLASSES, cvat.ROLES, cvat.write_cvat),
    ),
    "folder": Layout(
        "Trocar's own: classes.json, and images and masks of each clip",
        folder.open_folder,
        Fixture(CLASSES[:4], coco.ROLES, folder.write_folder),
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


def parse_choices(texts: Sequence[str]) -> dict[str, Choice]:
    """["fold=2", "uterus=true"] -> {"fold": 2, "uterus": True}

    Raises DatasetError when one is not NAME=VALUE.
    """
    words: dict[str, Choice] = {"true": True, "false": False, "none": None}
    choices: dict[str, Choice] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise DatasetError(f"expected a choice NAME=VALUE, got {text!r}")
        choices[name] = int(value) if value.isdecimal() else words.get(value.lower(), value)
    return choices


def others_that_open(name: str, root: Path) -> list[str]:
    """The other data sets that the folder could be: those whose layout it is in."""
    return [other for other in LAYOUTS if other != name and _opens(other, root)]


def _opens(name: str, root: Path) -> bool:
    try:
        LAYOUTS[name].open(root)
    except (DatasetError, OSError):
        return False
    return True


def write_fixture(name: str, out: Path, config: PhantomSetConfig) -> Iterator[int]:
    """Write a phantom in the layout `name`, yielding the number of frames written so far.

    Raises DatasetError: an unknown name, or a layout that is only read.
    """
    found = layout(name)
    if found.bodies is not None:
        yield from found.bodies.write_bodies(out, config)
        return
    fixture = found.fixture
    if fixture is None:
        raise DatasetError(f"{name}: expected a layout that can be written, this one is only read")
    yield from fixture.write(phantom_dataset(config, fixture.classes, fixture.roles), out)

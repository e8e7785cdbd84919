"""Annotated volumes as sequences of slices, decoded one case after the other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence
from models.errors import DatasetError, VolumeError
from models.types import UInt8Array
from models.volumes import SlicePlane, Window, open_volume, read_labels
from models.volumes.stack import SliceStack

HELD = 2  # decoded cases in memory, a byte a voxel for image and labels each


@dataclass(frozen=True)
class Cutting:
    """How cases of one data set become frames.

    ids: class id of each label in the files; label ids not in it are background, or refused when
      `strict`. window, axis: None chooses for each volume, see models.volumes
    """

    ids: Mapping[int, int]
    strict: bool = True
    window: Window | None = None
    axis: int | None = None


@dataclass(frozen=True)
class Case:
    """One image, and its labels where somebody annotated it."""

    name: str
    image: Path
    labels: Path | None
    split: str | None = None


def open_cases(cases: Sequence[Case], cutting: Cutting) -> tuple[AnnotatedSequence, ...]:
    """A sequence for each case. Headers are read now, voxels when a frame is.

    Raises VolumeError: no volume, or labels that do not overlay on their image.
    """
    decoded = _DecodedCases(cutting)
    return tuple(_open_case(case, cutting, decoded) for case in cases)


def _open_case(case: Case, cutting: Cutting, decoded: _DecodedCases) -> AnnotatedSequence:
    image = open_volume(case.image)
    if case.labels is not None:
        labels = open_volume(case.labels)
        if difference := image.grid.difference(labels.grid):
            raise VolumeError(
                f"{case.labels.name}: does not overlay {case.image.name}: {difference}"
            )
    plane = SlicePlane.of(image.grid, cutting.axis)
    frames = tuple(
        AnnotatedFrame(
            f"slice_{number:04d}",
            partial(decoded.image, case, number),
            None if case.labels is None else partial(decoded.mask, case, number),
        )
        for number in range(plane.count(image.grid.shape))
    )
    return AnnotatedSequence(case.name, frames, case.name, case.split, plane.spacing_mm)


@dataclass(frozen=True)
class _Decoded:
    stack: SliceStack
    masks: UInt8Array | None  # (N, H, W)


class _DecodedCases:
    """The cases used last, decoded; memory does not grow with the data set."""

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self._held: OrderedDict[Path, _Decoded] = OrderedDict()

    def image(self, case: Case, number: int) -> UInt8Array:
        """(H, W, 3) uint8"""
        return self._case(case).stack.image_rgb(number)

    def mask(self, case: Case, number: int) -> UInt8Array:
        """(H, W) uint8 class ids"""
        masks = self._case(case).masks
        if masks is None:
            raise DatasetError(f"{case.name}: expected labels, found none")
        mask: UInt8Array = masks[number]
        return mask

    def _case(self, case: Case) -> _Decoded:
        if case.image not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)
            self._held[case.image] = _decode(case, self._cutting)
        self._held.move_to_end(case.image)
        return self._held[case.image]


def _decode(case: Case, cutting: Cutting) -> _Decoded:
    image = open_volume(case.image)
    plane = SlicePlane.of(image.grid, cutting.axis)
    stack = SliceStack.of(image, plane, cutting.window)
    if case.labels is None:
        return _Decoded(stack, None)
    labels = read_labels(open_volume(case.labels), image)
    table = id_table(case.labels.name, np.unique(labels).tolist(), cutting)
    cut = [plane.cut(labels, number) for number in range(len(stack.grey))]
    masks: UInt8Array = table[np.stack(cut)]
    return _Decoded(stack, masks)


def id_table(name: str, found: Iterable[int], cutting: Cutting) -> UInt8Array:
    """(256,) uint8: class id of each label. name: of the file; found: the labels in it.

    Raises DatasetError, when strict, for a label that is neither background nor in `ids`.
    """
    table = np.zeros(256, np.uint8)
    for label, class_id in cutting.ids.items():
        table[label] = class_id
    unknown = sorted(set(found) - set(cutting.ids) - {0})
    if unknown and cutting.strict:
        known = ", ".join(str(label) for label in sorted(cutting.ids))
        raise DatasetError(f"{name}: expected labels 0, {known}, got {unknown[0]}")
    return table

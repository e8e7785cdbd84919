"""Annotated frames: drawn from a data set by seed, brought to the network's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.datasets.sequences import Dataset
from models.errors import DatasetError
from models.preprocess import resize_image, resize_mask
from models.types import ClassSpec, UInt8Array


@dataclass(frozen=True)
class AnnotatedFrames:
    """N annotated frames at the network's size.

    image: (N, S, S, 3) uint8; mask: (C, N, S, S) uint8 0 or 1
    """

    image: UInt8Array
    mask: UInt8Array

    @classmethod
    def of(
        cls, pairs: Sequence[tuple[UInt8Array, UInt8Array]], class_ids: Sequence[int], size: int
    ) -> AnnotatedFrames:
        """pairs: image (H, W, 3) and class map (H, W); ignored pixels count as background."""
        images = np.stack([resize_image(image, size) for image, _ in pairs])
        masks = [
            [resize_mask((mask == class_id).astype(np.uint8), size) for _, mask in pairs]
            for class_id in class_ids
        ]
        return cls(images, np.asarray(masks, dtype=np.uint8))


def draw_shots(
    dataset: Dataset, shots: int | None, seed: int
) -> list[tuple[UInt8Array, UInt8Array]]:
    """Annotated (image, class map) pairs: a seeded draw, first such that each class is seen.

    Raises DatasetError when nothing is annotated.
    """
    annotated = dataset.annotated()
    if not annotated:
        raise DatasetError("expected at least one annotated frame, found no masks at all")
    order = [annotated[int(i)] for i in np.random.default_rng(seed).permutation(len(annotated))]
    wanted = len(order) if shots is None else min(shots, len(order))
    pairs: list[tuple[UInt8Array, UInt8Array]] = []
    spare: list[tuple[UInt8Array, UInt8Array]] = []
    missing = {spec.class_id for spec in dataset.classes}
    for frame in order:
        if len(pairs) == wanted or (not missing and len(pairs) + len(spare) >= wanted):
            break
        if frame.read_mask is None:
            continue
        image, mask = frame.read_image(), frame.read_mask()
        new = missing & {int(i) for i in np.unique(mask)}
        missing -= new
        (pairs if new else spare).append((image, mask))
        spare = spare[:wanted]
    return (pairs + spare)[:wanted]


def visible_classes(
    classes: tuple[ClassSpec, ...], pairs: Sequence[tuple[UInt8Array, UInt8Array]]
) -> tuple[ClassSpec, ...]:
    """The classes that at least one class map shows. Raises DatasetError when there is none."""
    shown = {int(class_id) for _, mask in pairs for class_id in np.unique(mask)}
    visible = tuple(spec for spec in classes if spec.class_id in shown)
    if not visible:
        raise DatasetError("expected annotated frames that show a class, found only background")
    return visible

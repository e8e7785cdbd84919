"""Annotated frames: drawn from a data set by seed, brought to the network's size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.backbone.image_input import resize_image, resize_mask
from models.datasets.sequences import Dataset
from models.datasets.summary import only_255
from models.errors import DatasetError
from models.fitting.frame_augmentation import LabelledPicture
from models.types import IGNORE_ID, ClassSpec, UInt8Array

Pair = tuple[UInt8Array, UInt8Array]


@dataclass(frozen=True)
class AnnotatedFrames:
    """N annotated frames at the network's size.

    image: (N, S, S, 3) uint8; mask: (C, N, S, S) uint8 0 or 1
    counted: (N, S, S) uint8, 0 where a pixel is ignored: nobody says what it shows
    pictures: N, as they are drawn from to adapt the instance head, see frame_augmentation.py
    clip: N numbers, equal where frames are of one clip (or volume) and so resemble each other
    """

    image: UInt8Array
    mask: UInt8Array
    counted: UInt8Array
    clip: tuple[int, ...]
    pictures: tuple[LabelledPicture, ...]

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pair],
        class_ids: Sequence[int],
        size: int,
        clip: Sequence[int] | None = None,
    ) -> AnnotatedFrames:
        """pairs: image (H, W, 3) and class map (H, W), IGNORE_ID where nobody says what it is

        clip: of each pair; None: nobody knows, each for itself
        """
        images = np.stack([resize_image(image, size) for image, _ in pairs])
        masks = [
            [resize_mask((mask == class_id).astype(np.uint8), size) for _, mask in pairs]
            for class_id in class_ids
        ]
        counted = [resize_mask((mask != IGNORE_ID).astype(np.uint8), size) for _, mask in pairs]
        known = tuple(range(len(pairs)) if clip is None else clip)
        pictures = tuple(LabelledPicture.of(*pair, class_ids, size) for pair in pairs)
        return cls(images, np.asarray(masks, dtype=np.uint8), np.stack(counted), known, pictures)


@dataclass(frozen=True)
class Shots:
    """Annotated frames as they were read.

    pairs: image (H, W, 3) and class map (H, W); clip: of each, see AnnotatedFrames
    """

    pairs: tuple[Pair, ...]
    clip: tuple[int, ...]

    @classmethod
    def of(cls, read: Iterable[tuple[Pair, int]]) -> Shots:
        """Pairs, each with its clip."""
        each = tuple(read)
        return cls(tuple(pair for pair, _ in each), tuple(clip for _, clip in each))


def draw_shots(dataset: Dataset, shots: int | None, seed: int) -> Shots:
    """Annotated frames by a seeded draw, first such that each class is seen.

    Raises DatasetError when nothing is annotated.
    """
    annotated = [
        (frame.read_image, frame.read_mask, clip)
        for clip, sequence in enumerate(dataset.sequences)
        for frame in sequence.frames
        if frame.read_mask is not None
    ]
    if not annotated:
        raise DatasetError("expected at least one annotated frame, found no masks at all")
    order = [annotated[int(i)] for i in np.random.default_rng(seed).permutation(len(annotated))]
    wanted = len(order) if shots is None else min(shots, len(order))
    drawn: list[tuple[Pair, int]] = []
    spare: list[tuple[Pair, int]] = []
    missing = {spec.class_id for spec in dataset.classes}
    for read_image, read_mask, clip in order:
        if len(drawn) == wanted or (not missing and len(drawn) + len(spare) >= wanted):
            break
        image, mask = read_image(), read_mask()
        new = missing & {int(i) for i in np.unique(mask)}
        missing -= new
        (drawn if new else spare).append(((image, mask), clip))
        spare = spare[:wanted]
    return Shots.of((drawn + spare)[:wanted])


def visible_classes(classes: tuple[ClassSpec, ...], pairs: Sequence[Pair]) -> tuple[ClassSpec, ...]:
    """The classes that at least one class map shows. Raises DatasetError when there is none."""
    shown = {int(class_id) for _, mask in pairs for class_id in np.unique(mask)}
    visible = tuple(spec for spec in classes if spec.class_id in shown)
    if not visible and IGNORE_ID in shown:
        raise DatasetError(only_255(classes))
    if not visible:
        raise DatasetError("expected annotated frames that show a class, found only background")
    return visible

"""What is in a data set, counted by reading every annotated frame once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.types import IGNORE_ID, ClassSpec


@dataclass(frozen=True)
class ClassCount:
    """Annotated frames that show a class, and its share of all annotated pixels, 0 to 1."""

    spec: ClassSpec
    frames: int
    share: float


@dataclass(frozen=True)
class ShownFrame:
    """An annotated frame and the sequence it is of."""

    sequence: str
    frame: AnnotatedFrame


@dataclass(frozen=True)
class Summary:
    """sizes: (height, width) -> annotated frames; splits: name -> sequences; ignored: 0 to 1

    only_ignored: annotated frames that hold 0 and 255 alone: 255 was meant for an instrument there
    examples: annotated frames, in which every class is seen that is seen at all
    """

    frames: int
    annotated: int
    groups: int
    splits: dict[str, int]
    sizes: dict[tuple[int, int], int]
    classes: tuple[ClassCount, ...]
    ignored: float
    only_ignored: int
    examples: tuple[ShownFrame, ...]


def summarize(dataset: Dataset, *, examples: int = 8, progress: bool = False) -> Summary:
    """Read every annotated frame and count. examples: at least so many, where there are as many

    Raises DatasetError at the first frame that is not what the layout promises, and for masks whose
    only value beside 0 is 255.
    """
    shown = [ShownFrame(one.name, frame) for one in dataset.sequences for frame in one.annotated()]
    pixels = np.zeros(256, np.int64)
    seen = np.zeros(256, np.int64)
    sizes: Counter[tuple[int, int]] = Counter()
    only_ignored = 0
    count = min(examples, len(shown))
    chosen = {number * len(shown) // count for number in range(count)}  # spread evenly
    for number, one in enumerate(tqdm(shown, desc="check", unit="frame", disable=not progress)):
        counts, size = _read(one)
        sizes[size] += 1
        if ((counts > 0) & (seen == 0))[1:IGNORE_ID].any():
            chosen.add(number)  # the first frame that shows a class
        only_ignored += bool(counts[IGNORE_ID] and not counts[1:IGNORE_ID].any())
        pixels += counts
        seen += counts > 0
    if only_ignored and not seen[1:IGNORE_ID].any():
        raise DatasetError(f"{dataset.root}: {only_255(dataset.classes)}")
    total = max(1, int(pixels.sum()))
    return Summary(
        frames=sum(len(sequence.frames) for sequence in dataset.sequences),
        annotated=len(shown),
        groups=len({sequence.group for sequence in dataset.sequences}),
        splits=dict(Counter(_split_name(sequence) for sequence in dataset.sequences)),
        sizes=dict(sizes),
        classes=tuple(
            ClassCount(spec, int(seen[spec.class_id]), float(pixels[spec.class_id] / total))
            for spec in dataset.classes
        ),
        ignored=float(pixels[IGNORE_ID] / total),
        only_ignored=only_ignored,
        examples=tuple(shown[number] for number in sorted(chosen)),
    )


def only_255(classes: Sequence[ClassSpec]) -> str:
    """What to say of masks that are black and white."""
    first = f"the class's id, {classes[0].class_id} say" if classes else "the class's id"
    return (
        "expected masks of class ids, got 0 and 255 alone: 255 is ignored here, no class; "
        f"write {first}"
    )


def _read(one: ShownFrame) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """((256,) pixels of each id, (H, W)).

    Raises DatasetError when image and mask differ in size.
    """
    assert one.frame.read_mask is not None
    image, mask = one.frame.read_image(), one.frame.read_mask()
    if image.shape[:2] != mask.shape:
        raise DatasetError(
            f"{one.sequence}/{one.frame.name}: expected a mask of the image's size "
            f"{image.shape[1]}x{image.shape[0]}, got {mask.shape[1]}x{mask.shape[0]}"
        )
    counts = np.bincount(mask.ravel(), minlength=256).astype(np.int64)
    return counts, (mask.shape[0], mask.shape[1])


def _split_name(sequence: AnnotatedSequence) -> str:
    return sequence.split or "none"

"""Which sequences are for fitting and which for the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.datasets.sequences import AnnotatedSequence, Dataset
from models.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """The same data set twice, with the sequences for fitting and with those for the test."""

    fit: Dataset
    test: Dataset


def draw_share(dataset: Dataset, share: float, seed: int, *, whole_groups: bool = False) -> Split:
    """A share of the sequences for fitting (at least one), drawn by seed; the rest is the test.

    share: 0 to 1; 0.05 and 0.10 are the paper's settings for AutoLaparo (15 and 30 of 300 clips)
    whole_groups: draw patients (groups) instead of sequences, so that none is on both sides. The
      paper draws sequences.
    Raises DatasetError when either side would have no annotated frame.
    """
    annotated = [sequence for sequence in dataset.sequences if sequence.annotated()]
    units = [one.group if whole_groups else one.name for one in annotated]
    names = sorted(set(units))
    count = max(1, round(share * len(names)))
    drawn = {names[int(i)] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
    chosen = [unit in drawn for unit in units]
    fit = [one for one, is_chosen in zip(annotated, chosen, strict=True) if is_chosen]
    test = [one for one, is_chosen in zip(annotated, chosen, strict=True) if not is_chosen]
    return _split(dataset, fit, test, f"a share of {share:g} of {len(names)}")


def published_split(dataset: Dataset, fit: str = "train", test: str = "test") -> Split:
    """The split that the data set publishes. Raises DatasetError when it has none."""
    usable = [one for one in dataset.sequences if one.annotated()]
    fitted = [one for one in usable if one.split == fit]
    tested = [one for one in usable if one.split == test]
    return _split(dataset, fitted, tested, f"published split {fit}/{test} of {dataset.name}")


def draw_sequences(dataset: Dataset, count: int, seed: int) -> Split:
    """So many sequences (volumes) for fitting, drawn by seed; the paper's settings are 2 and 3.

    Where a split is published they are drawn of its training side, and the test is its test side;
    else all others are the test. Raises DatasetError when either side would be empty.
    """
    annotated = [sequence for sequence in dataset.sequences if sequence.annotated()]
    published = any(one.split == "test" for one in annotated)
    pool = [one for one in annotated if not published or one.split == "train"]
    order = np.random.default_rng(seed).permutation(len(pool))[:count]
    fit = [pool[int(place)] for place in sorted(order)]
    test = [one for one in annotated if one.split == "test" or (not published and one not in fit)]
    return _split(dataset, fit, test, f"{count} of {len(pool)} sequences")


def _split(
    dataset: Dataset,
    fit: Sequence[AnnotatedSequence],
    test: Sequence[AnnotatedSequence],
    what: str,
) -> Split:
    if not fit or not test:
        side = "fitting" if not fit else "the test"
        raise DatasetError(f"{what}: expected annotated sequences on both sides, none for {side}")
    return Split(replace(dataset, sequences=tuple(fit)), replace(dataset, sequences=tuple(test)))

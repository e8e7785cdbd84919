"""Which sequences are annotated for fitting and which are the test; no group is in both.

The paper draws 5 % or 10 % of AutoLaparo's clips and tests on all others. All clips come from 21
procedures, so that draw tests on patients it was fitted on. Here the same draw is made, and then
the other sequences of the drawn ones' groups are left out of the test. Where groups are not known
each sequence is its own, and the draw is the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.paper.setting import Setting
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.errors import DatasetError
from models.fitting.annotated import Shots, draw_shots
from models.types import ClassSpec

DRAWS = 50  # until every class is shown; then the draw that shows most


@dataclass(frozen=True)
class PaperSplit:
    """fit, test: sequences; unused: of the fitted groups; hidden: classes that fit never shows

    shots: the annotated frames for fitting; classes: those they show
    """

    fit: tuple[AnnotatedSequence, ...]
    unused: tuple[AnnotatedSequence, ...]
    test: tuple[AnnotatedSequence, ...]
    classes: tuple[ClassSpec, ...]
    hidden: tuple[ClassSpec, ...]
    shots: Shots


@dataclass(frozen=True)
class Limits:
    """At most so many annotated frames for fitting, evenly spaced, and sequences in the test."""

    fit_frames: int
    test_cases: int | None


def split(dataset: Dataset, setting: Setting, seed: int, limits: Limits) -> PaperSplit:
    """Draw by seed. Raises DatasetError when a side would have nothing annotated."""
    annotated = [one for one in dataset.sequences if one.annotated()]
    if not annotated:
        raise DatasetError(f"{dataset.name}: expected annotated sequences, found no masks at all")
    if len(annotated) == 1:
        return _cut(dataset, annotated[0], setting, limits)
    fit = _draw(dataset, annotated, setting, seed)
    groups = {one.group for one in fit}
    others = [one for one in annotated if one.group not in groups]
    if not others:
        raise DatasetError(
            f"{dataset.name}: expected a group beyond the {len(groups)} that {setting} draws from, "
            "found none to test on"
        )
    chosen = _some(others, limits.test_cases, seed)
    unused = tuple(one for one in annotated if one.group in groups and one not in fit)
    shots = _shots(dataset, fit, setting, (seed, limits.fit_frames))
    return _assembled(dataset, (fit, unused, chosen), shots)


def _draw(
    dataset: Dataset, annotated: list[AnnotatedSequence], setting: Setting, seed: int
) -> tuple[AnnotatedSequence, ...]:
    """The first draw that shows every class, else the one that shows most."""
    count = _count(annotated, setting)
    rng = np.random.default_rng([seed, 11])
    best: tuple[int, tuple[AnnotatedSequence, ...]] = (-1, ())
    shown: dict[str, frozenset[int]] = {}
    for _ in range(DRAWS):
        drawn = tuple(annotated[int(i)] for i in sorted(rng.permutation(len(annotated))[:count]))
        for one in drawn:
            if one.name not in shown:
                shown[one.name] = frozenset(_visible(one.annotated()))
        seen = frozenset().union(*(shown[one.name] for one in drawn))
        known = len(seen & {spec.class_id for spec in dataset.classes})
        if known > best[0] and len({one.group for one in drawn}) < _groups(annotated):
            best = (known, drawn)
        if best[0] == len(dataset.classes):
            break
    if not best[1]:
        raise DatasetError(
            f"{dataset.name}: expected a draw of {setting} that leaves a group to test on, there "
            f"are {_groups(annotated)} groups"
        )
    return best[1]


def _count(annotated: list[AnnotatedSequence], setting: Setting) -> int:
    """Sequences to draw. Shots are drawn from half of the groups' worth of sequences."""
    if setting.share is not None:
        return max(1, round(setting.share * len(annotated)))
    if setting.volumes is not None:
        if setting.volumes >= len(annotated):
            raise DatasetError(f"expected more than {setting.volumes} sequences, {len(annotated)}")
        return setting.volumes
    return max(1, min(setting.shots or 1, _groups(annotated) // 2))


def _groups(annotated: Iterable[AnnotatedSequence]) -> int:
    return len({one.group for one in annotated})


def _visible(frames: Iterable[AnnotatedFrame]) -> set[int]:
    return {
        int(class_id)
        for frame in frames
        if frame.read_mask is not None
        for class_id in np.unique(frame.read_mask())
    }


def _some(
    others: list[AnnotatedSequence], limit: int | None, seed: int
) -> tuple[AnnotatedSequence, ...]:
    if limit is None or limit >= len(others):
        return tuple(others)
    kept = np.random.default_rng([seed, 12]).permutation(len(others))[:limit]
    return tuple(others[int(i)] for i in sorted(kept))


def _shots(
    dataset: Dataset,
    fit: tuple[AnnotatedSequence, ...],
    setting: Setting,
    seed_and_limit: tuple[int, int],
) -> Shots:
    seed, limit = seed_and_limit
    if setting.shots is not None:
        return draw_shots(replace(dataset, sequences=fit), setting.shots, seed)
    frames = [(frame, clip) for clip, one in enumerate(fit) for frame in one.annotated()]
    kept = np.unique(np.linspace(0, len(frames) - 1, min(limit, len(frames))).round().astype(int))
    chosen = [frames[int(i)] for i in kept]
    return Shots.of(
        ((one.read_image(), one.read_mask()), clip) for one, clip in chosen if one.read_mask
    )


def _cut(dataset: Dataset, only: AnnotatedSequence, setting: Setting, limits: Limits) -> PaperSplit:
    """A single sequence: its first frames are for fitting, the others are the test."""
    frames = only.annotated()
    wanted = setting.shots or max(1, round((setting.share or 0.5) * len(frames)))
    if wanted >= len(frames):
        raise DatasetError(
            f"{dataset.name}: expected more than {wanted} annotated frames, found {len(frames)}"
        )
    fit = replace(only, frames=tuple(frames[:wanted]))
    test = replace(only, frames=tuple(frames[wanted:]))
    shots = _shots(dataset, (fit,), setting, (0, limits.fit_frames))
    return _assembled(dataset, ((fit,), (), (test,)), shots)


def _assembled(
    dataset: Dataset,
    sides: tuple[tuple[AnnotatedSequence, ...], ...],
    shots: Shots,
) -> PaperSplit:
    shown = {int(class_id) for _, mask in shots.pairs for class_id in np.unique(mask)}
    classes = tuple(spec for spec in dataset.classes if spec.class_id in shown)
    if not classes:
        raise DatasetError(f"{dataset.name}: expected frames that show a class, only background")
    hidden = tuple(spec for spec in dataset.classes if spec.class_id not in shown)
    fit, unused, test = sides
    return PaperSplit(fit, unused, test, classes, hidden, shots)

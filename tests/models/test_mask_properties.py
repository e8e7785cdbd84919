"""Masks that are written and read back are equal, whatever they show and in whichever layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.datasets.regions import fill_runs, pack_counts, runs, unpack_counts
from models.datasets.registry import LAYOUTS, open_dataset
from models.datasets.sequences import AnnotatedFrame, AnnotatedSequence, Dataset
from models.types import UInt8Array
from models.volumes import open_volume
from tests.models.test_volume_headers import SHAPE, metaimage, nifti
from tests.support.layouts import EVERYTHING, WRITTEN

FREELY = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def masks(draw: st.DrawFn, ids: list[int]) -> UInt8Array:
    """Blocks, specks and lines of any of the ids. (H, W)"""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = np.zeros((height, width), np.uint8)
    for class_id in draw(st.lists(st.sampled_from(ids), max_size=6)):
        top, left = rng.integers(height), rng.integers(width)
        deep, wide = rng.integers(1, height + 1), rng.integers(1, width + 1)
        mask[top : top + deep, left : left + wide] = class_id
    if draw(st.booleans()):
        mask[rng.random((height, width)) < 0.2] = draw(st.sampled_from([0, *ids]))
    return mask


def as_dataset(name: str, mask: UInt8Array) -> Dataset:
    fixture = LAYOUTS[name].fixture
    assert fixture is not None
    image = np.full((*mask.shape, 3), 77, np.uint8)
    frame = AnnotatedFrame("000000", lambda: image, lambda: mask)
    return Dataset("x", Path(), fixture.classes, (AnnotatedSequence("001", (frame,), "001"),))


@pytest.mark.parametrize("name", WRITTEN)
@given(data=st.data())
@FREELY
def test_masks_come_back_as_they_were(tmp_path: Path, name: str, data: st.DataObject) -> None:
    fixture = LAYOUTS[name].fixture
    assert fixture is not None
    mask = data.draw(masks([spec.class_id for spec in fixture.classes]))
    root = tmp_path / "set"
    shutil.rmtree(root, ignore_errors=True)
    for _ in fixture.write(as_dataset(name, mask), root):
        pass
    (frame,) = open_dataset(name, root, **EVERYTHING.get(name, {})).annotated()
    assert frame.read_mask is not None
    assert np.array_equal(frame.read_mask(), mask)
    assert frame.read_image().shape == (*mask.shape, 3)


@given(mask=masks([1]))
@FREELY
def test_run_lengths_come_back_as_they_were(mask: UInt8Array) -> None:
    for by_column in (False, True):
        counts = runs(mask == 1, by_column=by_column)
        assert unpack_counts(pack_counts(counts)) == counts
        filled = fill_runs(counts, (mask.shape[0], mask.shape[1]), by_column=by_column)
        assert np.array_equal(filled, mask == 1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mhd", "a.mha"])
@given(seed=st.integers(0, 2**32))
@FREELY
def test_label_volumes_come_back_as_they_were(tmp_path: Path, name: str, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)
    make = nifti if ".nii" in name else metaimage
    source = make(tmp_path / (name if name != "a.mha" else "b.mhd"))
    volume = open_volume(source)
    out = tmp_path / f"labels{name.removeprefix('a')}"
    volume.write_labels(out, np.asfortranarray(labels))
    again = open_volume(out)
    assert np.array_equal(again.read(), labels)
    assert volume.grid.difference(again.grid) is None

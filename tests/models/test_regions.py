"""Polygons and run lengths, as COCO and CVAT write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.datasets.regions import fill_polygon, fill_runs, pack_counts, runs, unpack_counts
from models.datasets.registry import open_dataset


@pytest.mark.parametrize("by_column", [True, False])
def test_runs_there_and_back(by_column: bool) -> None:
    rng = np.random.default_rng(0)
    for number in range(50):
        mask = rng.random((1 + number % 7, 1 + number % 11)) < rng.random()
        counts = runs(mask, by_column=by_column)
        assert np.array_equal(fill_runs(counts, mask.shape, by_column=by_column), mask)
        assert unpack_counts(pack_counts(counts)) == counts


def test_a_string_that_pycocotools_wrote() -> None:
    """encode() of pycocotools 2.0.11 for a 5 x 6 mask with rows 1 to 3, columns 2 to 4 set."""
    mask = np.zeros((5, 6), np.bool_)
    mask[1:4, 2:5] = True
    assert pack_counts(runs(mask, by_column=True)) == ";320004"
    assert np.array_equal(fill_runs(unpack_counts(";320004"), (5, 6), by_column=True), mask)


@pytest.mark.parametrize("text", ["a~", "\x10", "P"])
def test_a_damaged_string_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="compressed run length"):
        unpack_counts(text)


def test_a_pixel_belongs_to_a_polygon_when_its_centre_does() -> None:
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]], dtype=float)
    expected = np.zeros((6, 6), np.bool_)
    expected[1:3, 1:4] = True
    assert np.array_equal(fill_polygon(square, (6, 6)), expected)
    assert np.array_equal(fill_polygon(square + 0.4, (6, 6)), expected)
    assert np.array_equal(fill_polygon(square - 20, (6, 6)), np.zeros((6, 6), np.bool_))
    whole = np.array([[-9, -9], [99, -9], [99, 99], [-9, 99]], dtype=float)
    assert fill_polygon(whole, (6, 6)).all()


def test_a_polygon_covers_its_area() -> None:
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([50 + 30.2 * np.cos(turns), 40 + 30.2 * np.sin(turns)], 1)
    area = fill_polygon(circle, (90, 100)).sum()
    assert area == pytest.approx(0.5 * 60 * np.sin(2 * np.pi / 60) * 30.2**2, rel=0.01)


def coco(root: Path, regions: list[dict[str, Any]]) -> Path:
    (root / "images").mkdir()
    cv2.imwrite(str(root / "images/a_1.png"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(root / "images/b_1.png"), np.zeros((4, 6, 3), np.uint8))
    content = {
        "images": [
            {"id": 3, "file_name": "a_1.png", "height": 4, "width": 6},
            {"id": 4, "file_name": "b_1.png", "height": 4, "width": 6},
        ],
        "categories": [{"id": 9, "name": "hook"}, {"id": 0, "name": "grasper"}],
        "annotations": [{"id": n, "image_id": 3, **one} for n, one in enumerate(regions)],
    }
    (root / "annotations").mkdir()
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    return root


def test_coco_polygons_runs_and_overlaps(tmp_path: Path) -> None:
    large = {"category_id": 0, "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]], "iscrowd": 0}
    small = {
        "category_id": 9,
        "segmentation": {"size": [4, 6], "counts": [5, 2, 17]},
        "iscrowd": 1,
    }
    dataset = open_dataset("coco", coco(tmp_path, [small, large]), sequence=r"^(\w)_")
    assert [(spec.class_id, spec.name) for spec in dataset.classes] == [(1, "grasper"), (2, "hook")]
    assert [(one.name, one.split) for one in dataset.sequences] == [("a", "train"), ("b", "train")]
    frame = dataset.annotated()[0]
    assert len(dataset.annotated()) == 1
    assert frame.read_mask is not None
    expected = np.ones((4, 6), np.uint8)
    expected[1:3, 1] = 2
    assert np.array_equal(frame.read_mask(), expected)
    whole = open_dataset("coco", tmp_path, empty="background")
    assert len(whole.annotated()) == 2


CVAT_META = "<meta><task>{size}<labels><label><name>grasper</name></label></labels></task></meta>"


def test_cvat_polygons_in_z_order(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((4, 6, 3), np.uint8))
    meta = CVAT_META.replace(
        "</label></labels>", "</label><label><name>hook</name></label></labels>"
    )
    shapes = (
        '<polygon label="hook" points="0,0;2,0;2,4;0,4" z_order="1"/>'
        '<polygon label="grasper" points="0.0,0.0;6.0,0.0;6.0,2.0;0.0,2.0" z_order="0"/>'
    )
    image = f'<image id="0" name="a.png" width="6" height="4">{shapes}</image>'
    (tmp_path / "annotations.xml").write_text(
        f"<annotations>{meta.format(size='')}{image}</annotations>"
    )
    frame = open_dataset("cvat", tmp_path).annotated()[0]
    assert frame.read_mask is not None
    expected = np.zeros((4, 6), np.uint8)
    expected[:2] = 1
    expected[:, :2] = 2
    assert np.array_equal(frame.read_mask(), expected)


def test_cvat_video_tracks(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        path = tmp_path / f"images/frame_{number:06d}.png"
        cv2.imwrite(str(path), np.zeros((4, 6, 3), np.uint8))
    size = "<original_size><width>6</width><height>4</height></original_size>"
    shape = '<polygon frame="{0}" outside="{1}" points="0,0;{0},0;{0},4;0,4" z_order="0"/>'
    track = shape.format(1, 0) + shape.format(2, 1)
    (tmp_path / "annotations.xml").write_text(
        f"<annotations>{CVAT_META.format(size=size)}"
        f'<track id="0" label="grasper">{track}</track></annotations>'
    )
    dataset = open_dataset("cvat", tmp_path)
    assert [frame.read_mask is not None for frame in dataset.sequences[0].frames] == [
        False, True, False,
    ]  # fmt: skip
    mask = dataset.annotated()[0].read_mask
    assert mask is not None
    assert mask().sum() == 4

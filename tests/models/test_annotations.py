"""Annotations as CVAT, Label Studio and others export them: used right, or told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.datasets.coco import open_coco
from models.datasets.cvat import open_cvat
from models.datasets.json_file import whole
from models.datasets.summary import summarize
from models.errors import DatasetError
from tests.support.odd_sets import SQUARE, TRIANGLE, coco_set, cvat_image, cvat_set, outline, scene

BOTH = [outline(1, 1), outline(2, 2)]


def told(open_it: Callable[[], Any]) -> str:
    """The one line with which it is refused, on opening or on reading."""
    with pytest.raises(DatasetError) as caught:
        summarize(open_it())
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def box(number: int, image: int) -> dict[str, Any]:
    return outline(number, image, [], bbox=[5, 5, 20, 20])


def test_a_box_is_not_taught_as_background(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set", [outline(1, 1), box(2, 1), box(3, 2)])
    said = told(lambda: open_coco(root))
    assert "expected outlines, annotation 2 is a box in 000.png, one of 2" in said
    assert summarize(open_coco(root, shapes="skip")).annotated == 1


@pytest.mark.parametrize(
    "bare",
    [
        outline(1, 1, [], bbox=[5, 5, 20, 20]),
        {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]},
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": None},
    ],
    ids=["box", "points", "null"],
)
@pytest.mark.parametrize("shapes", ["refuse", "skip"])
def test_a_set_without_a_single_outline_says_so(
    tmp_path: Path, bare: dict[str, Any], shapes: str
) -> None:
    root = coco_set(tmp_path / "set", [bare])
    assert "expected outlines, annotation 1" in told(lambda: open_coco(root, shapes=shapes))


@pytest.mark.parametrize("stray", [[64.0, 48.0], [1, 1, 5, 5], [3, 3, 3, 3, 3, 3]])
def test_a_stray_click_beside_an_outline_is_nothing(tmp_path: Path, stray: list[float]) -> None:
    plain = open_coco(coco_set(tmp_path / "plain", BOTH)).annotated()[0]
    root = coco_set(tmp_path / "set", [outline(1, 1, [SQUARE, stray]), outline(2, 2)])
    frame = open_coco(root).annotated()[0]
    assert plain.read_mask is not None
    assert frame.read_mask is not None
    assert np.array_equal(frame.read_mask(), plain.read_mask())


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([[10, 10, 20, 20]], "annotation 7 of 000.png cannot be drawn: expected three"),
        ([[10, 10, 20, 20, 30]], "annotation 7 of 000.png cannot be drawn: expected pairs"),
        ([[10, 10, 20, float("nan"), 30, 30]], "expected three finite corners"),
        ({"size": [48, 64], "counts": [1, 2]}, "expected runs of 3072 pixels"),
        ({"size": [64, 48], "counts": "x"}, "expected run lengths of size [48, 64]"),
        ({"size": [48, 64], "counts": [0.5, 3071.5]}, "expected runs of whole pixels"),
        ({"counts": [1]}, "annotation 7 of 000.png cannot be drawn: no 'size'"),
        ("outline", "annotation 7 of 000.png cannot be drawn"),
    ],
)
def test_a_region_that_cannot_be_drawn_is_named_by_its_id(
    tmp_path: Path, segmentation: Any, expected: str
) -> None:
    root = coco_set(tmp_path / "set", [outline(7, 1, segmentation), outline(8, 2)])
    assert expected in told(lambda: open_coco(root))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "category id once"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "category once, got a"),
        ({"categories": [{"id": 1.5, "name": "a"}]}, "expected a whole number, got '1.5'"),
        ({"categories": [{"id": True, "name": "a"}]}, "expected a whole number, got 'True'"),
        ({"annotations": [outline(1, 1, category_id=3)]}, "annotation 1: expected a category"),
        ({"annotations": [outline(1, 9)]}, "annotation 1: expected an image, no 9"),
        ({"annotations": ["x"]}, "expected COCO's fields"),
    ],
)
def test_what_is_there_twice_or_is_no_number_is_told(
    tmp_path: Path, more: dict[str, Any], expected: str
) -> None:
    root = coco_set(tmp_path / "set", BOTH, **more)
    assert expected in told(lambda: open_coco(root))


@pytest.mark.parametrize("names", [("000.png", "000.png"), ("000.png", "./000.png")])
def test_an_image_that_is_listed_twice_is_told(tmp_path: Path, names: tuple[str, str]) -> None:
    root = coco_set(tmp_path / "set", BOTH, names)
    assert "image once" in told(lambda: open_coco(root))


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), (3.0000004, 3), ("3", 3), ("2.9995", 3), (0, 0), (-1, -1)]
)
def test_ids_near_a_whole_number_are_that_number(value: Any, number: int) -> None:
    assert whole(value) == number


@pytest.mark.parametrize("value", [1.5, "x", None, True, float("nan"), float("inf"), [], 1e400])
def test_other_ids_are_none(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        whole(value)


def test_ids_as_floats_are_read(tmp_path: Path) -> None:
    root = coco_set(
        tmp_path / "set",
        [outline(1, 1, image_id=1.0000001, category_id="1"), outline(2, 2)],
        categories=[{"id": 1.00002, "name": "grasper"}],
    )
    assert summarize(open_coco(root)).annotated == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_coco_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    assert summarize(open_coco(coco_set(tmp_path / "set", BOTH, encoding=encoding))).annotated == 2


@pytest.mark.parametrize(
    "name", ["images\\000.png", "000", "000.PNG", "./000.png", "images/000.png", "images\\000"]
)
def test_names_as_other_tools_write_them(tmp_path: Path, name: str) -> None:
    root = coco_set(tmp_path / "set", BOTH, (name, "001.png"))
    assert summarize(open_coco(root)).annotated == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("C:\\data\\000.png", "expected images inside the folder"),
        ("..\\000.png", "expected images inside the folder"),
        ("\\\\server\\000.png", "expected images inside the folder"),
        ("000.jpg", "expected an image 000.jpg in images, found none"),
        ("a\0b.png", "expected an image"),
        ("x" * 5000, "expected an image"),
        ("9" * 5000, "expected an image"),
    ],
)
def test_names_that_are_nowhere_are_told(tmp_path: Path, name: str, expected: str) -> None:
    root = coco_set(tmp_path / "set", BOTH, (name, "001.png"))
    with pytest.raises(DatasetError, match="expected") as caught:
        open_coco(root)
    assert expected in str(caught.value)


def test_a_name_without_suffix_that_two_images_have_is_told(tmp_path: Path) -> None:
    root = coco_set(tmp_path / "set", BOTH, ("000", "001.png"))
    Image.fromarray(scene()[0]).save(root / "images/000.jpg")
    assert "expected one image 000, found 000.jpg, 000.png" in told(lambda: open_coco(root))


def test_a_video_tasks_images_without_suffix_are_found(tmp_path: Path) -> None:
    """CVAT's own export names them so; the files are called .PNG."""
    root = cvat_set(tmp_path / "set", cvat_image("frame_000000"))
    Image.fromarray(scene()[0]).save(root / "images/x.png")
    (root / "images/x.png").rename(root / "images/frame_000000.PNG")
    found = summarize(open_cvat(root))
    assert (found.frames, found.annotated) == (1, 1)


def with_frames(root: Path, numbers: list[int], pattern: str = "frame_{:06d}.png") -> Path:
    for number in numbers:
        Image.fromarray(scene()[0]).save(root / "images" / pattern.format(number))
    return root


def track(*frames: int) -> str:
    shapes = "".join(
        f'<polygon frame="{n}" outside="0" points="10,10;30,10;30,30"/>' for n in frames
    )
    return f'<track id="0" label="grasper">{shapes}</track>'


THINNED = (
    "<start_frame>10</start_frame><stop_frame>30</stop_frame><frame_filter>step=5</frame_filter>"
)


def test_frames_are_counted_as_cvat_counts_them(tmp_path: Path) -> None:
    """Every fifth from the tenth on: the video's own numbers, in the file and in the names."""
    root = cvat_set(tmp_path / "set", track(10, 20), THINNED)
    dataset = open_cvat(with_frames(root, [10, 15, 20, 25, 30]))
    named = [frame.name for frame in dataset.annotated()]
    assert named == ["frame_000010", "frame_000020"]


@pytest.mark.parametrize(
    ("numbers", "pattern", "meta", "expected"),
    [
        ([10, 11, 12], "frame_{:06d}.png", THINNED, "frame_000011.png: expected frames as CVAT"),
        ([0, 1, 2, 3], "frame_{:06d}.png", "<stop_frame>2</stop_frame>", "0 to 2 in steps of 1"),
        ([0], "first{:.0s}.png", "", "first.png: expected a name like frame_000000.png"),
    ],
)
def test_frames_that_somebody_else_numbered_are_told(
    tmp_path: Path, numbers: list[int], pattern: str, meta: str, expected: str
) -> None:
    """As ffmpeg extracts them, from 1 on: each outline would lie on the picture before."""
    root = cvat_set(tmp_path / "set", track(numbers[0]), meta)
    if "first" in pattern:
        Image.fromarray(scene()[0]).save(root / "images/first.png")
    else:
        with_frames(root, numbers, pattern)
    assert expected in told(lambda: open_cvat(root))


def test_a_number_elsewhere_in_a_name_is_no_frame_number(tmp_path: Path) -> None:
    root = cvat_set(tmp_path / "set", track(3))
    dataset = open_cvat(with_frames(root, [2, 3, 4], "case12_frame_{:06d}.png"))
    assert [frame.name for frame in dataset.annotated()] == ["case12_frame_000003"]


def test_a_frame_that_is_there_twice_is_told(tmp_path: Path) -> None:
    root = cvat_set(tmp_path / "set", track(0))
    with_frames(with_frames(root, [0]), [0], "frame_{:03d}.png")
    assert "expected frame 0 once" in told(lambda: open_cvat(root))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_cvat_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    root = cvat_set(tmp_path / "set", cvat_image("frame_000000.png"), encoding=encoding)
    assert summarize(open_cvat(with_frames(root, [0]))).annotated == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_wherever_they_stand(tmp_path: Path, encoding: str) -> None:
    root = cvat_set(tmp_path / "set", "")
    bomb = (
        "<!-- " + "x" * 5000 + ' --><!DOCTYPE a [<!ENTITY b "cccc">]><annotations>&b;</annotations>'
    )
    (root / "annotations.xml").write_text(bomb, encoding=encoding)
    assert "got a document type with entities" in told(lambda: open_cvat(root))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (cvat_image("frame_000000.png") * 2, "expected each image once"),
        (cvat_image("frame_000000.png", TRIANGLE.replace("10,10;", "")), "expected three"),
        (cvat_image("frame_000000.png", TRIANGLE.replace("30,30", "30")), "expected pairs"),
        (cvat_image("frame_000000.png", '<box label="grasper"/>'), "got a box of grasper"),
        (cvat_image("frame_000000.png", TRIANGLE.replace("grasper", "x")), "expected a label"),
    ],
)
def test_cvat_shapes_that_are_none_are_told(tmp_path: Path, body: str, expected: str) -> None:
    root = with_frames(cvat_set(tmp_path / "set", body), [0])
    assert expected in told(lambda: open_cvat(root))


def test_a_label_twice_is_told(tmp_path: Path) -> None:
    root = cvat_set(tmp_path / "set", cvat_image("frame_000000.png"))
    text = (root / "annotations.xml").read_text()
    label = "<label><name>grasper</name></label>"
    (root / "annotations.xml").write_text(text.replace(label, label * 2))
    assert "expected each label once, got grasper twice" in told(lambda: open_cvat(root))

"""The folder data set refuses what is wrong with it in one clear line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.datasets.folder import open_folder, read_mask
from models.datasets.image_files import read_image
from models.errors import DatasetError


@pytest.fixture
def folder(phantom_folder: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(phantom_folder, tmp_path / "data"))


def test_reads_what_the_phantom_wrote(folder: Path) -> None:
    dataset = open_folder(folder)
    assert [clip.name for clip in dataset.sequences] == ["clip_000", "clip_001", "clip_002"]
    assert len(dataset.annotated()) == 24
    frame = dataset.annotated()[0]
    image = frame.read_image()
    assert frame.read_mask is not None
    mask = frame.read_mask()
    assert mask.shape == image.shape[:2]
    assert image.shape == (120, 160, 3)
    assert set(np.unique(mask)) <= {0} | {spec.class_id for spec in dataset.classes}


def test_a_frame_without_a_mask_is_not_annotated(folder: Path) -> None:
    (folder / "clip_000/masks/000003.png").unlink()
    assert len(open_folder(folder).annotated()) == 23


def test_natural_order(tmp_path: Path) -> None:
    (tmp_path / "c/images").mkdir(parents=True)
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"c/images/f{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "classes.json").write_text('{"classes": [{"id": 1, "name": "a"}]}')
    frames = open_folder(tmp_path).sequences[0].frames
    assert [frame.name for frame in frames] == ["f1", "f2", "f10"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not valid JSON"),
        ("[]", 'expected {"classes"'),
        ('{"classes": []}', "at least one class"),
        ('{"classes": [{"name": "a"}]}', "integer id"),
        ('{"classes": [{"id": 0, "name": "a"}]}', "1 to 254"),
        ('{"classes": [{"id": 255, "name": "a"}]}', "1 to 254"),
        ('{"classes": [{"id": true, "name": "a"}]}', "integer id"),
        ('{"classes": [{"id": 1}]}', "expected a name"),
        ('{"classes": [{"id": 1, "name": "a", "color": "red"}]}', "#3fb950"),
        ('{"classes": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "id 1 is used twice"),
        ('{"classes": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', "name a is used twice"),
        ('{"classes": [3]}', "expected an object"),
    ],
)
def test_malformed_classes(folder: Path, content: str, expected: str) -> None:
    (folder / "classes.json").write_text(content)
    with pytest.raises(DatasetError, match=expected) as caught:
        open_folder(folder)
    assert "\n" not in str(caught.value)


def test_missing_parts(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found none"):
        open_folder(tmp_path / "nowhere")
    (folder / "classes.json").unlink()
    with pytest.raises(DatasetError, match="found no file"):
        open_folder(folder)


def test_mask_without_its_image(folder: Path) -> None:
    (folder / "clip_001/images/000002.png").unlink()
    with pytest.raises(DatasetError, match=r"clip_001/masks/000002\.png"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros((60, 80), np.uint8), "expected the image's size 160x120, got 80x60"),
        (np.full((120, 160), 77, np.uint8), "id 77 is not declared"),
        (np.zeros((120, 160), np.uint16), "expected uint8"),
        (np.dstack([np.full((120, 160), v, np.uint8) for v in (1, 2, 3)]), "one channel"),
    ],
)
def test_wrong_masks(folder: Path, mask: np.ndarray, expected: str) -> None:
    path = folder / "clip_000/masks/000000.png"
    cv2.imwrite(str(path), mask)
    dataset = open_folder(folder)
    with pytest.raises(DatasetError, match=expected):
        read_mask(path, dataset.classes, folder / "clip_000/images/000000.png")


def test_grey_sixteen_bit_and_alpha_images(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., 0], grey)
    color = np.dstack([grey, grey + 50, grey + 100, np.full_like(grey, 9)])
    cv2.imwrite(str(tmp_path / "alpha.png"), color)
    assert np.array_equal(read_image(tmp_path / "alpha.png"), color[..., 2::-1])
    (tmp_path / "text.png").write_text(json.dumps("no image"))
    with pytest.raises(DatasetError, match="readable image"):
        read_image(tmp_path / "text.png")

"""Every layout refuses what is wrong with a folder in one line that says what and where."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.datasets.registry import Choice, open_dataset
from models.datasets.summary import summarize
from models.errors import DatasetError
from tests.support.layouts import WRITTEN, write_tiny

Break = Callable[[Path], object]


def gone(path: str) -> Break:
    """Take a file or folder away."""

    def take(root: Path) -> None:
        at = root / path
        shutil.rmtree(at) if at.is_dir() else at.unlink()

    return take


def empty(path: str) -> Break:
    """Leave a folder with nothing in it."""

    def clear(root: Path) -> None:
        shutil.rmtree(root / path)
        (root / path).mkdir()

    return clear


def renamed(path: str, name: str) -> Break:
    return lambda root: (root / path).rename(root / Path(path).with_name(name))


def text(path: str, content: str) -> Break:
    return lambda root: (root / path).write_text(content)


def edited(path: str, old: str, new: str) -> Break:
    def edit(root: Path) -> None:
        before = (root / path).read_text()
        assert old in before
        (root / path).write_text(before.replace(old, new))

    return edit


def mask(path: str, values: np.ndarray) -> Break:
    return lambda root: cv2.imwrite(str(root / path), values)


def grey(value: int, shape: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.full(shape, value, np.uint8)


COLOR = np.dstack([grey(10), grey(20), grey(40)])
DEEP = np.zeros((64, 96), np.uint16)
SMALL = grey(0, (10, 12))
CLIP = "video01/video01_00080"
TRUTH = "instrument_dataset_1/ground_truth/Vessel_Sealer_labels"
INSTANCES = "annotations/instances_default.json"

CASES: dict[str, list[tuple[Break, str]]] = {
    "autolaparo": [
        (gone("imgs"), "expected a folder imgs, found none"),
        (gone("masks"), "expected a folder masks, found none"),
        (empty("imgs"), r"imgs: expected \.jpg files, found none"),
        (gone("imgs/001001.jpg"), r"masks/001001\.png: expected an image imgs/001001\.jpg"),
        (text("imgs/clip.jpg", ""), r"imgs/clip\.jpg: expected a name CCCFFF\.jpg"),
        (mask("masks/001001.png", SMALL), r"masks/001001\.png: .* size 96x64, got 12x10"),
        (mask("masks/001001.png", grey(30)), r"masks/001001\.png: .*multiple of 20.*, got 30"),
        (mask("masks/001001.png", COLOR), r"masks/001001\.png: expected uint8 with one channel"),
        (text("masks/001001.png", "text"), r"masks/001001\.png: expected a readable PNG"),
        (text("imgs/001001.jpg", "text"), r"001001\.jpg: expected a readable image"),
        (text("procedures.csv", "1,2,3"), r"procedures\.csv: expected lines CCC,procedure"),
    ],
    "cholecseg8k": [
        (
            lambda root: [shutil.rmtree(one) for one in root.iterdir()],
            "such as video01, found none",
        ),
        (empty("video01"), "expected folders such as video01_00080, found none"),
        (empty(CLIP), f"{CLIP}: expected frames such as frame_80_endo.png"),
        (gone(f"{CLIP}/frame_80_endo.png"), r"frame_80_endo_watershed_mask\.png: expected a frame"),
        (mask(f"{CLIP}/frame_80_endo_watershed_mask.png", SMALL), "size 96x64, got 12x10"),
        (mask(f"{CLIP}/frame_80_endo_watershed_mask.png", COLOR), f"{CLIP}/frame_80.*one channel"),
        (
            mask(f"{CLIP}/frame_80_endo_watershed_mask.png", grey(7)),
            "grey values of 5, 11,.*none of",
        ),
        (text(f"{CLIP}/frame_80_endo.png", "text"), r"frame_80_endo\.png: .*readable image"),
    ],
    "endoscapes": [
        (gone("train_seg/annotation_coco.json"), "train_seg: expected annotation_coco.json"),
        (text("train_seg/annotation_coco.json", "{"), "train_seg/annotation_coco.json: not valid"),
        (gone("train_seg/1_0.jpg"), r"train_seg/annotation.*expected an image 1_0\.jpg"),
        (
            text("seg_label_map.txt", "background\ntool"),
            r"seg_label_map\.txt: .*got background, tool",
        ),
        (mask("semseg/1_0.png", SMALL), r"semseg/1_0\.png: .* size 96x64, got 12x10"),
        (mask("semseg/1_0.png", grey(9)), r"semseg/1_0\.png: expected values from 0 to 6.*got 9"),
        (mask("semseg/1_0.png", COLOR), r"semseg/1_0\.png: .*one channel"),
        (
            lambda root: [shutil.rmtree(one) for one in root.glob("*_seg")],
            "expected folders train_seg, val_seg, test_seg, found none",
        ),
    ],
    "endovis2017": [
        (
            lambda root: [shutil.rmtree(one) for one in root.iterdir()],
            "such as instrument_dataset_1",
        ),
        (
            empty("instrument_dataset_1/left_frames"),
            "instrument_dataset_1: expected frames in left",
        ),
        (
            gone("instrument_dataset_1/ground_truth"),
            "instrument_dataset_1: expected folders in gro",
        ),
        (renamed(TRUTH, "Spoon_labels"), "ground_truth/Spoon_labels: expected a folder of bipolar"),
        (
            gone("instrument_dataset_1/left_frames/frame000.png"),
            "frame000.png: expected an image of the same stem",
        ),
        (mask(f"{TRUTH}/frame000.png", SMALL), "Sealer_labels/frame000.png: .*96x64, got 12x10"),
        (mask(f"{TRUTH}/frame000.png", DEEP), "Sealer_labels/frame000.png: expected uint8"),
    ],
    "endovis2018": [
        (lambda root: [shutil.rmtree(one) for one in root.iterdir()], "such as seq_1/left_frames"),
        (empty("seq_1/left_frames"), r"seq_1/left_frames: expected \.png files, found none"),
        (gone("seq_1/left_frames/frame000.png"), r"seq_1/labels/frame000\.png: expected an image"),
        (mask("seq_1/labels/frame000.png", SMALL), r"seq_1/labels/frame000\.png: .* got 12x10"),
        (mask("seq_1/labels/frame000.png", COLOR), r"seq_1/labels/.*got RGB \[40, 20, 10\]"),
        (text("seq_1/labels/frame000.png", "text"), r"frame000\.png: expected a readable image"),
    ],
    "davis": [
        (gone("JPEGImages"), "expected a folder JPEGImages/480p, found none"),
        (gone("Annotations"), "expected a folder Annotations/480p, found none"),
        (empty("JPEGImages/480p"), "expected folders such as bear, found none"),
        (empty("JPEGImages/480p/001"), r"JPEGImages/001: expected \.jpg files, found none"),
        (gone("JPEGImages/480p/001/00000.jpg"), r"Annotations/001/00000\.png: expected an image"),
        (text("ImageSets/2017/train.txt", "swan\n"), r"ImageSets/2017/train\.txt: .*got 'swan'"),
        (
            mask("Annotations/480p/001/00000.png", SMALL),
            r"001/00000\.png: .* size 96x64, got 12x10",
        ),
        (mask("Annotations/480p/001/00000.png", COLOR), r"001/00000\.png: .*one of mode RGB"),
        (mask("Annotations/480p/001/00000.png", grey(9)), r"001/00000\.png: .*up to 4, got 9"),
        (text("classes.json", "[]"), "classes.json: expected"),
    ],
    "coco": [
        (gone("annotations"), "expected annotations/instances_.* found none"),
        (text(INSTANCES, "{"), f"{INSTANCES}: not valid JSON"),
        (text(INSTANCES, "[]"), f"{INSTANCES}: expected an object with lists images"),
        (edited(INSTANCES, '"file_name"', '"path"'), f"{INSTANCES}: .*fields, got no 'file_name'"),
        (edited(INSTANCES, '"image_id": 1,', '"image_id": 77,'), "expected an image, no 77"),
        (edited(INSTANCES, '"category_id": 4', '"category_id": 44'), "expected a category, no 44"),
        (edited(INSTANCES, '"size": [64, 96]', '"size": [64, 95]'), "cannot be drawn: .*size"),
        (
            edited(INSTANCES, '"counts": "', '"counts": "1'),
            "cannot be drawn: expected runs of 6144",
        ),
        (gone("images/001/000000.png"), r"expected an image 001/000000\.png in images, found none"),
        (mask("images/001/000000.png", SMALL), r"001/000000\.png: .* size 12x10, got 96x64"),
    ],
    "cvat": [
        (gone("annotations.xml"), r"expected annotations\.xml, found no file"),
        (text("annotations.xml", "<annotations>"), r"annotations\.xml: not valid XML"),
        (text("annotations.xml", "<html/>"), "expected <annotations>, got <html>"),
        (text("annotations.xml", "<!DOCTYPE a><annotations/>"), "expected plain XML"),
        (edited("annotations.xml", "<name>hook</name>", "<name>spoon</name>"), "label it declares"),
        (edited("annotations.xml", "<mask", "<box"), "expected polygons and masks, got a box"),
        (edited("annotations.xml", ' height="64"', ""), "CVAT's attributes, got no 'height'"),
        (
            edited("annotations.xml", 'rle="', 'rle="1, '),
            r"001/000000\.png: a mask cannot be drawn",
        ),
        (gone("images/001/000000.png"), r"expected an image images/001/000000\.png, found none"),
        (mask("images/001/000000.png", SMALL), r"001/000000\.png: .* size 12x10, got 96x64"),
    ],
    "folder": [
        (gone("classes.json"), r"expected classes\.json .* found no file"),
        (text("classes.json", "{"), r"classes\.json: not valid JSON"),
        (empty("001/images"), r"001/images: expected \.png or \.jpg files, found none"),
        (gone("001/images/000000.png"), r"001/masks/000000\.png: expected an image"),
        (mask("001/masks/000000.png", SMALL), r"001/masks/000000\.png: .* size 96x64, got 12x10"),
        (mask("001/masks/000000.png", grey(9)), r"001/masks/000000\.png: id 9 is not declared"),
    ],
}
TASKS: list[tuple[str, dict[str, Choice], Break, str]] = [
    (
        "endovis2017",
        {"task": "parts"},
        mask(f"{TRUTH}/frame000.png", grey(15)),
        r"Sealer_labels/frame000\.png: expected parts of 0, 10, 20 or 30, got 15",
    ),
    ("endovis2018", {"task": "types"}, lambda root: None, "expected train/images and train/anno"),
    ("davis", {"resolution": "1080p"}, lambda root: None, "expected a folder JPEGImages/1080p"),
    (
        "davis",
        {"objects": 300},
        lambda root: None,
        "objects: expected a whole number from 1 to 254",
    ),
    ("coco", {"sequence": "nothing"}, lambda root: None, "sequence: expected a group that finds"),
    ("coco", {"sequence": "("}, lambda root: None, "sequence: expected a regular expression"),
    ("cvat", {"sequence": 5}, lambda root: None, "sequence: expected a regular expression, got 5"),
    ("autolaparo", {"uterus": "no"}, lambda root: None, "uterus: expected one of False, True"),
    ("endovis2017", {"crop": "off"}, lambda root: None, "crop: expected one of False, True"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny phantoms to break copies of."""
    root = tmp_path_factory.mktemp("whole")
    return {name: write_tiny(name, root / name) for name in WRITTEN}


def test_every_layout_is_broken_in_five_ways_at_least() -> None:
    assert set(CASES) == set(WRITTEN)
    assert all(len(cases) >= 5 for cases in CASES.values())


@pytest.mark.parametrize(
    ("name", "break_it", "expected"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
)
def test_broken(
    name: str, break_it: Break, expected: str, whole: dict[str, Path], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(whole[name], tmp_path / "data"))
    break_it(root)
    with pytest.raises(DatasetError, match=expected) as caught:
        summarize(open_dataset(name, root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "choices", "break_it", "expected"), TASKS)
def test_broken_for_a_choice(
    name: str,
    choices: dict[str, Choice],
    break_it: Break,
    expected: str,
    whole: dict[str, Path],
    tmp_path: Path,
) -> None:
    root = Path(shutil.copytree(whole[name], tmp_path / "data"))
    break_it(root)
    with pytest.raises(DatasetError, match=expected):
        summarize(open_dataset(name, root, **choices))


@pytest.mark.parametrize("name", WRITTEN)
def test_no_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected a data set folder, found none at"):
        open_dataset(name, tmp_path / "nowhere")

"""Every layout is read back as it was written, and read picture by picture."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.datasets import autolaparo, endovis2017
from models.datasets.phantom_dataset import PhantomSetConfig, phantom_dataset
from models.datasets.registry import LAYOUTS, open_dataset, parse_choices, write_fixture
from models.datasets.sequences import Dataset
from models.datasets.splits import draw_share, published_split
from models.datasets.summary import summarize
from models.errors import DatasetError
from tests.support.layouts import EVERYTHING, TINY, WRITTEN, plain, tiny_phantom, write_tiny


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny phantom in every layout."""
    root = tmp_path_factory.mktemp("layouts")
    return {name: write_tiny(name, root / name) for name in WRITTEN}


def masks(dataset: Dataset) -> list[np.ndarray]:
    return [frame.read_mask() for frame in dataset.annotated() if frame.read_mask]


@pytest.mark.parametrize("name", WRITTEN)
def test_what_was_written_is_what_is_read(name: str, written: dict[str, Path]) -> None:
    source = tiny_phantom(name)
    dataset = open_dataset(name, written[name], **EVERYTHING.get(name, {}))
    assert [len(one.frames) for one in dataset.sequences] == [2, 2, 2]
    shown = set()
    for frame, original in zip(dataset.annotated(), source.annotated(), strict=True):
        assert frame.read_mask is not None
        assert original.read_mask is not None
        image, mask = frame.read_image().astype(int), frame.read_mask()
        assert np.array_equal(mask, original.read_mask())
        assert np.abs(image - original.read_image()).mean() < 3  # what JPEG may lose, PNG nothing
        shown |= set(np.unique(mask).tolist()) - {0}
    assert len(shown) >= 3 or name == "endoscapes"
    assert shown <= {spec.class_id for spec in dataset.classes}


@pytest.mark.parametrize("name", WRITTEN)
def test_opening_reads_no_pixel_and_reading_keeps_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the frames: the same peak of memory."""
    fixture = LAYOUTS[name].fixture
    assert fixture is not None
    peaks = []
    for times in (1, 1, 4):  # the first is for what is only loaded once
        root = tmp_path / str(len(peaks))
        for _ in fixture.write(plain(name, 2 * times), root):
            pass
        with monkeypatch.context() as patched:
            for module, reader in ((cv2, "imread"), (Image, "open")):
                patched.setattr(module, reader, lambda *_: pytest.fail("opening read an image"))
            dataset = open_dataset(name, root)
        assert len(dataset.annotated()) == 4 * times
        tracemalloc.start()
        for frame in dataset.annotated():
            assert frame.read_mask is not None
            frame.read_image()
            frame.read_mask()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_autolaparo_as_the_paper_has_it(written: dict[str, Path]) -> None:
    parts = masks(open_dataset("autolaparo", written["autolaparo"], parts="kept"))
    tools = masks(open_dataset("autolaparo", written["autolaparo"]))
    with_uterus = masks(open_dataset("autolaparo", written["autolaparo"], uterus=True))
    for part, tool, whole in zip(parts, tools, with_uterus, strict=True):
        assert np.array_equal(tool, (part + 1) // 2)
        assert np.array_equal(np.where(whole == 5, 0, whole), tool)
    assert any((mask == 5).any() for mask in with_uterus)


def test_autolaparo_official_split_and_procedures(tmp_path: Path) -> None:
    for folder, suffix in (("imgs", "jpg"), ("masks", "png")):
        (tmp_path / folder).mkdir()
        for clip in (1, 170, 171, 227, 228, 300):
            path = tmp_path / folder / f"{clip:03d}025.{suffix}"
            cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "procedures.csv").write_text("001,a\n170,a\n171,b\n")
    dataset = open_dataset("autolaparo", tmp_path)
    splits = {one.name: one.split for one in dataset.sequences}
    assert splits == {
        "001": "train", "170": "train", "171": "validation", "227": "validation",
        "228": "test", "300": "test",
    }  # fmt: skip
    groups = [one.group for one in dataset.sequences]
    assert groups == ["a", "a", "b", "227", "228", "300"]
    split = published_split(dataset)
    assert len(split.fit.sequences) == len(split.test.sequences) == 2


def test_a_drawn_share_is_a_function_of_its_seed_and_can_keep_groups_whole() -> None:
    config = PhantomSetConfig(sequences=40, frames=1, procedures=8, size=(64, 96))
    dataset = phantom_dataset(config, autolaparo.PARTS, autolaparo.ROLES)
    names = [[one.name for one in draw_share(dataset, 0.05, s).fit.sequences] for s in (0, 0, 1)]
    assert len(names[0]) == 2
    assert names[0] == names[1] != names[2]
    split = draw_share(dataset, 0.1, 0)
    assert len(split.fit.sequences) + len(split.test.sequences) == 40
    whole = draw_share(dataset, 0.25, 0, whole_groups=True)
    assert not {s.group for s in whole.fit.sequences} & {s.group for s in whole.test.sequences}
    with pytest.raises(DatasetError, match="none for the test"):
        draw_share(dataset, 1.0, 0)
    with pytest.raises(DatasetError, match="published split"):
        published_split(dataset)


def test_cholecseg8k_choices(written: dict[str, Path]) -> None:
    root = written["cholecseg8k"]
    for whole, tools in zip(
        masks(open_dataset("cholecseg8k", root)),
        masks(open_dataset("cholecseg8k", root, classes="instruments")),
        strict=True,
    ):
        assert np.array_equal(tools, np.where(np.isin(whole, (5, 9)), whole, 0))
    dataset = open_dataset("cholecseg8k", root, fold=1)
    sides = {one.group: one.split for one in dataset.sequences}
    assert sides == {"video01": "train", "video02": "test"}


def test_cholecseg8k_lines_and_strays_are_ignored(tmp_path: Path) -> None:
    root = write_tiny("cholecseg8k", tmp_path)
    path = root / "video01/video01_00080/frame_80_endo_watershed_mask.png"
    values = cv2.imread(str(path))
    assert values is not None
    values[0, :4] = np.array([255, 0, 35, 50])[:, None]
    cv2.imwrite(str(path), values)
    assert masks(open_dataset("cholecseg8k", root))[0][0, :4].tolist() == [255, 255, 255, 0]


def test_endovis2017_crop_tasks_and_folds(tmp_path: Path) -> None:
    fixture = LAYOUTS["endovis2017"].fixture
    assert fixture is not None
    config = PhantomSetConfig(sequences=1, frames=1, procedures=1, size=(1024, 1280), seed=1)
    source = phantom_dataset(config, fixture.classes, fixture.roles)
    for _ in fixture.write(source, tmp_path):
        pass
    expected = masks(source)[0]
    frame = open_dataset("endovis2017", tmp_path, fold=0).annotated()[0]
    assert np.array_equal(frame.read_image(), source.annotated()[0].read_image())
    assert np.array_equal(masks(open_dataset("endovis2017", tmp_path))[0], expected)
    assert masks(open_dataset("endovis2017", tmp_path, crop=False))[0].shape == (1080, 1920)
    instrument = (expected > 0) & (expected != endovis2017.OTHER)
    binary = masks(open_dataset("endovis2017", tmp_path, task="binary"))[0]
    parts = masks(open_dataset("endovis2017", tmp_path, task="parts"))[0]
    assert np.array_equal(binary > 0, instrument)
    assert np.array_equal(parts, np.where(instrument, 3, 0))
    assert open_dataset("endovis2017", tmp_path, fold=0).sequences[0].split == "test"
    assert open_dataset("endovis2017", tmp_path, fold=1).sequences[0].split == "train"


@pytest.mark.parametrize(("task", "factor"), [("types", 32), ("parts", 85), ("binary", 255)])
def test_endovis2017_cropped_and_multiplied(tmp_path: Path, task: str, factor: int) -> None:
    folder = tmp_path / "cropped_train/instrument_dataset_3"
    masks_at = folder / endovis2017.TERNAUS[task][0]
    for path in (folder / "images", masks_at):
        path.mkdir(parents=True)
    cv2.imwrite(str(folder / "images/frame000.jpg"), np.zeros((8, 8, 3), np.uint8))
    ids = np.zeros((8, 8), np.uint8)
    ids[2:4] = np.arange(8) % (len(endovis2017.CLASSES[task]) + 1)
    cv2.imwrite(str(masks_at / "frame000.png"), ids * factor)
    assert np.array_equal(masks(open_dataset("endovis2017", tmp_path, task=task))[0], ids)


def test_endovis2018_parts_and_types(written: dict[str, Path], tmp_path: Path) -> None:
    scene = masks(open_dataset("endovis2018", written["endovis2018"]))
    parts = masks(open_dataset("endovis2018", written["endovis2018"], task="parts"))
    assert any((mask > 3).any() for mask in scene)
    for whole, part in zip(scene, parts, strict=True):
        assert np.array_equal(part, np.where(whole <= 3, whole, 0))
    for split in ("train", "val"):
        for folder in ("images", "annotations"):
            (tmp_path / split / folder).mkdir(parents=True)
            path = tmp_path / split / folder / f"seq_{len(split)}_frame000.png"
            cv2.imwrite(str(path), np.full((8, 8), 5, np.uint8))
    dataset = open_dataset("endovis2018", tmp_path, task="types")
    assert [(s.name, s.split) for s in dataset.sequences] == [
        ("seq_5", "train"),
        ("seq_3", "validation"),
    ]
    assert (masks(dataset)[0] == 5).all()


def test_davis_without_classes_and_of_2016(written: dict[str, Path], tmp_path: Path) -> None:
    root = write_tiny("davis", tmp_path)
    (root / "classes.json").unlink()
    dataset = open_dataset("davis", root)
    assert dataset.classes[0].name == "object_1"
    assert {one.split for one in dataset.sequences} == {"train"}
    expected = [mask > 0 for mask in masks(dataset)]
    found = masks(open_dataset("davis", root, year=2016))
    assert all(np.array_equal(one > 0, two) for one, two in zip(found, expected, strict=True))
    lists = root / "ImageSets/480p"
    lists.mkdir()
    (root / "ImageSets/2017/train.txt").unlink()
    line = "/JPEGImages/480p/{0}/00000.jpg /Annotations/480p/{0}/00000.png\n"
    (lists / "val.txt").write_text(line.format("002"))
    splits = {one.name: one.split for one in open_dataset("davis", root).sequences}
    assert splits == {"001": None, "002": "validation", "003": None}


def test_endoscapes_splits_and_without_semseg(tmp_path: Path) -> None:
    root = write_tiny("endoscapes", tmp_path)
    dataset = open_dataset("endoscapes", root)
    assert [one.split for one in dataset.sequences] == ["train", "validation", "test"]
    coco = root / "train_seg/annotation_coco.json"
    region = [2, 2, 8, 2, 8, 5, 2, 5]
    image = '{"id": 7, "file_name": "1_0.jpg", "height": 64, "width": 96}'
    coco.write_text(
        f'{{"images": [{image}], "categories": [{{"id": 0, "name": "tool"}}], "annotations": '
        f'[{{"id": 1, "image_id": 7, "category_id": 0, "segmentation": [{region}]}}]}}'
    )
    (root / "semseg").rename(root / "elsewhere")
    mask = masks(open_dataset("endoscapes", root))[0]
    expected = np.zeros((64, 96), np.uint8)
    expected[2:5, 2:8] = 6
    assert np.array_equal(mask, expected)


def test_names_and_choices_are_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a data set of autolaparo.*got 'imagenet'"):
        open_dataset("imagenet", tmp_path)
    with pytest.raises(DatasetError, match="expected choices of parts, uterus, got 'fold'"):
        open_dataset("autolaparo", tmp_path, fold=1)
    with pytest.raises(DatasetError, match="parts: expected one of merged, kept, got 'both'"):
        open_dataset("autolaparo", tmp_path, parts="both")
    assert parse_choices(["fold=2", "uterus=true", "sequence=none", "task=parts"]) == {
        "fold": 2, "uterus": True, "sequence": None, "task": "parts",
    }  # fmt: skip
    with pytest.raises(DatasetError, match="NAME=VALUE"):
        parse_choices(["fold"])


def test_a_summary_counts_what_is_there(written: dict[str, Path]) -> None:
    dataset = open_dataset("davis", written["davis"])
    summary = summarize(dataset, examples=2)
    stacked = np.stack(masks(dataset))
    assert (summary.frames, summary.annotated, summary.groups) == (6, 6, 3)
    assert summary.sizes == {(64, 96): 6}
    for one in summary.classes:
        assert one.share == pytest.approx((stacked == one.spec.class_id).mean())
        assert one.frames == (stacked == one.spec.class_id).any(axis=(1, 2)).sum()
    assert len(summarize(dataset).examples) == 6, "all of them where there are fewer than eight"
    seen = set()
    for shown in summary.examples:
        assert shown.frame.read_mask is not None
        seen |= set(np.unique(shown.frame.read_mask()).tolist())
    assert seen == set(np.unique(stacked).tolist())


def test_phantom_sets_are_a_function_of_their_seed(tmp_path: Path) -> None:
    def picture(seed: int) -> np.ndarray:
        config = PhantomSetConfig(sequences=1, frames=1, procedures=1, size=(64, 96), seed=seed)
        data = phantom_dataset(config, autolaparo.PARTS, autolaparo.ROLES)
        return data.annotated()[0].read_image()

    assert np.array_equal(picture(3), picture(3))
    assert not np.array_equal(picture(3), picture(4))
    assert list(write_fixture("folder", tmp_path, TINY)) == [1, 2, 3, 4, 5, 6]

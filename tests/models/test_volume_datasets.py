"""Data sets of volumes: read back as written, wrong folders refused, memory bounded."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

import benchmarks.quality.volumes
from models.datasets.nifti_folder import write_nifti_folder
from models.datasets.phantom_dataset import PhantomSetConfig
from models.datasets.promise12 import write_promise12
from models.datasets.registry import open_dataset, write_fixture
from models.datasets.sequences import Dataset
from models.datasets.splits import draw_sequences
from models.datasets.summary import summarize
from models.datasets.synapse import RAW_IDS, write_synapse_prepared, write_synapse_raw
from models.errors import DatasetError
from models.volumes import SlicePlane, Window, choose_window
from models.volumes.phantom import BodyConfig, PhantomVolume, phantom_volume
from service.commands.main import main
from tests.support.fakes import FakeTracker

CT = BodyConfig(organs=8, shape=(20, 18, 5), turned=(10, 5), flipped=(True, True, False))
MR = BodyConfig(organs=1, shape=(20, 18, 5), spacing_mm=(0.6, 0.6, 3.6), mr=True)
LAYOUTS = ("synapse", "prepared", "promise12", "nifti")


def bodies(
    layout: str, count: int = 3, shape: tuple[int, int, int] = CT.shape
) -> list[PhantomVolume]:
    config = replace(MR if layout == "promise12" else CT, shape=shape)
    return [phantom_volume(seed, config) for seed in range(count)]


def write(layout: str, root: Path, count: int = 3, shape: tuple[int, int, int] = CT.shape) -> Path:
    made = bodies(layout, count, shape)
    writers = {
        "synapse": lambda: write_synapse_raw(made, root),
        "prepared": lambda: write_synapse_prepared(made[:2], made[2:], root),
        "promise12": lambda: write_promise12(made, root),
        "nifti": lambda: write_nifti_folder(made, root, [f"organ {n}" for n in range(1, 9)]),
    }
    assert len(list(writers[layout]())) == count
    return root


def opened(layout: str, root: Path) -> Dataset:
    return open_dataset("synapse" if layout == "prepared" else layout, root)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_is_what_is_read(layout: str, tmp_path: Path) -> None:
    dataset = opened(layout, write(layout, tmp_path / "data"))
    assert [len(one.frames) for one in dataset.sequences] == [5, 5, 5]
    assert len({one.group for one in dataset.sequences}) == 3
    shown = set()
    for sequence, body in zip(dataset.sequences, bodies(layout), strict=True):
        plane = SlicePlane.of(body.grid)
        window = choose_window(body.voxels) if layout != "prepared" else Window(-125, 275)
        for number, frame in enumerate(sequence.frames):
            image, mask = frame.read_image(), frame.read_mask()
            if layout == "prepared":  # whose arrays are nobody's view of the patient
                truth, grey = body.labels[..., number], window.grey(body.voxels[..., number])
            else:
                truth = plane.cut(body.labels, number)
                grey = window.grey(plane.cut(body.voxels, number))
            assert np.array_equal(mask, truth)
            assert np.abs(image[..., 0].astype(int) - grey).max() <= 1
            assert (image == image[..., :1]).all()
            shown |= set(np.unique(mask).tolist())
        if layout != "prepared":
            assert sequence.spacing_mm == pytest.approx(plane.spacing_mm, rel=1e-5)
    assert shown == {0, *(spec.class_id for spec in dataset.classes)}


def test_synapse_keeps_eight_of_the_raw_organs(tmp_path: Path) -> None:
    root = write("synapse", tmp_path)
    path = root / "label/label0001.nii.gz"
    labels = np.asarray(nibabel.nifti1.Nifti1Image.from_filename(path).dataobj)
    assert set(np.unique(labels)) <= {0, *RAW_IDS}
    aorta = open_dataset("synapse", root).classes[6]
    assert (aorta.class_id, aorta.name) == (7, "aorta")
    oesophagus = np.full_like(labels, 5)
    write_over(path, oesophagus)
    first = open_dataset("synapse", root).sequences[0]
    assert all(not frame.read_mask().any() for frame in first.frames), "organ 5 is background"
    splits = {one.name: one.split for one in open_dataset("synapse", root).sequences}
    assert splits == {"case0001": "test", "case0002": "test", "case0003": "test"}


def test_transunets_own_order_of_organs(tmp_path: Path) -> None:
    root = write("prepared", tmp_path)
    plain = open_dataset("synapse", root).sequences[0].frames[2].read_mask()
    named = open_dataset("synapse", root, organs="transunet").sequences[0].frames[2].read_mask()
    assert (plain == 5).any()
    assert np.array_equal(plain == 5, named == 5), "the liver is 5 for both"
    assert np.array_equal(plain == 1, named == 7), "their 1 is the aorta"
    assert np.array_equal(plain == 7, named == 1), "their 7 is the spleen"
    splits = [one.split for one in open_dataset("synapse", root).sequences]
    assert splits == ["train", "train", "test"]


def test_promise12_has_hsams_lists_when_asked(tmp_path: Path) -> None:
    write("promise12", tmp_path, count=1)
    for number in (5, 12):
        for path in list(tmp_path.glob("Case00*")):
            name = path.name.replace("Case00", f"Case{number:02d}")
            content = path.read_bytes().replace(b"Case00", f"Case{number:02d}".encode())
            (tmp_path / name).write_bytes(content)
    asked = open_dataset("promise12", tmp_path, split="hsam").sequences
    assert {one.name: one.split for one in asked} == {
        "Case00": None, "Case05": "train", "Case12": "test",
    }  # fmt: skip
    assert {one.split for one in open_dataset("promise12", tmp_path).sequences} == {None}


def test_classes_of_a_plain_folder_and_of_nnunet(tmp_path: Path) -> None:
    root = write("nifti", tmp_path)
    assert open_dataset("nifti", root).classes[2].name == "organ 3"
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "all": 1}}))
    with pytest.raises(DatasetError, match=r"case_001\.nii\.gz: expected labels 0, 1, got 2"):
        open_dataset("nifti", root).sequences[0].frames[0].read_mask()
    (root / "dataset.json").unlink()
    for path in (root / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii", "_0000.nii")))
    (root / "imagesTr/._case_001_0000.nii.gz").write_text("what macOS leaves behind")
    plain = open_dataset("nifti", root, window="-200:300", axis=0)
    assert [spec.name for spec in plain.classes] == [f"label {n}" for n in range(1, 9)]
    assert len(plain.sequences[0].frames) == 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_does_not_grow_with_the_number_of_volumes(layout: str, tmp_path: Path) -> None:
    peaks = []
    for count in (3, 12):
        dataset = opened(layout, write(layout, tmp_path / str(count), count, (96, 80, 6)))
        tracemalloc.start()
        summarize(dataset)
        for sequence in dataset.sequences:  # and again, from the first on
            sequence.frames[0].read_image()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]


Break = Callable[[Path], object]


def gone(name: str) -> Break:
    return lambda root: shutil.rmtree(root / name) if "." not in name else (root / name).unlink()


def moved(name: str, to: str) -> Break:
    return lambda root: (root / name).rename(root / to)


def text(name: str) -> Break:
    return lambda root: (root / name).write_text("no volume")


def write_over(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    before = nibabel.nifti1.Nifti1Image.from_filename(path).affine
    nibabel.nifti1.Nifti1Image(voxels, before if affine is None else affine).to_filename(path)


def other_labels(name: str, shape: tuple[int, ...] = (20, 18, 5), value: float = 0.0) -> Break:
    return lambda root: write_over(root / name, np.full(shape, value, np.float32))


def elsewhere(name: str) -> Break:
    return lambda root: write_over(root / name, np.zeros((20, 18, 5), np.uint8), np.eye(4))


def edited(name: str, old: str, new: str) -> Break:
    def edit(root: Path) -> None:
        before = (root / name).read_text()
        assert old in before
        (root / name).write_text(before.replace(old, new))

    return edit


def npz(**arrays: np.ndarray) -> Break:
    return lambda root: np.savez(root / "train_npz/case0005_slice001.npz", **arrays)


def h5(**arrays: np.ndarray) -> Break:
    def put(root: Path) -> None:
        with h5py.File(root / "test_vol_h5/case0001.npy.h5", "w") as file:
            for key, values in arrays.items():
                file[key] = values

    return put


FLAT, DEEP = np.zeros((18, 20), np.float32), np.zeros((5, 18, 20), np.float32)
LABEL = "labelsTr/case_002.nii.gz"
BROKEN: dict[str, list[tuple[Break, str]]] = {
    "synapse": [
        (gone("img"), "expected folders train_npz and test_vol_h5, or img and label"),
        (gone("label/label0002.nii.gz"), "img0002.nii.gz: expected labels label/label0002.nii.gz"),
        (gone("img/img0002.nii.gz"), "label0002.nii.gz: expected an image of the same number"),
        (moved("img/img0002.nii.gz", "img/two.nii.gz"), "img/two.nii.gz: expected a name imgNNNN"),
        (text("img/img0002.nii.gz"), "img0002.nii.gz: expected a whole NIfTI volume"),
        (other_labels("label/label0002.nii.gz", (20, 18, 4)), "expected shape 20x18x5"),
    ],
    "prepared": [
        (lambda root: [shutil.rmtree(one) for one in root.iterdir()], "found neither"),
        (text("train_npz/notes.txt"), "notes.txt: expected caseNNNN_sliceMMM.npz"),
        (text("train_npz/case0005_slice001.npz"), "slice001.npz: expected image and label arrays"),
        (npz(image=FLAT), "case0005_slice001.npz: expected image and label arrays"),
        (npz(image=FLAT, label=FLAT[1:]), "expected image and label (H, W) alike"),
        (npz(image=FLAT - 1000, label=FLAT), "expected image values from 0 to 1, got -1000"),
        (npz(image=FLAT, label=FLAT + 9), "case0005_slice001.npz: expected labels from 0 to 8"),
        (text("test_vol_h5/case0001.npy.h5"), "case0001.npy.h5: expected HDF5"),
        (h5(image=DEEP), "case0001.npy.h5: expected HDF5 with image and label"),
        (h5(image=DEEP, label=DEEP[1:]), "expected image and label (N, H, W) alike"),
        (moved("test_vol_h5/case0001.npy.h5", "test_vol_h5/1.h5"), "1.h5: expected caseNNNN"),
    ],
    "promise12": [
        (lambda root: shutil.rmtree(root), "expected a data set folder, found none"),
        (lambda root: [one.unlink() for one in root.iterdir()], "expected CaseNN.mhd"),
        (gone("Case01_segmentation.mhd"), "Case01_segmentation.mhd is missing"),
        (gone("Case01.mhd"), "Case01.mhd is missing"),
        (gone("Case01.raw"), "Case01.mhd: expected its voxels in Case01.raw beside it"),
        (moved("Case01.mhd", "First.mhd"), "First.mhd: expected CaseNN.mhd"),
        (edited("Case01_segmentation.mhd", "20 18 5", "20 18 4"), "expected shape 20x18x5"),
        (lambda root: (root / "Case01.raw").write_bytes(b"short"), "bytes of voxels in Case01.raw"),
    ],
    "nifti": [
        (gone("labelsTr"), "expected a folder labelsTr"),
        (gone(LABEL), "imagesTr/case_002.nii.gz: expected labels labelsTr/case_002.nii.gz"),
        (gone("imagesTr/case_002.nii.gz"), "labelsTr/case_002.nii.gz: expected an image"),
        (text("dataset.json"), "dataset.json: expected"),
        (other_labels(LABEL, value=77), "case_002.nii.gz: expected labels 0, 1, "),
        (other_labels(LABEL, value=0.5), "case_002.nii.gz: expected label ids from 0 to 255"),
        (other_labels(LABEL, (20, 18, 6)), "case_002.nii.gz: expected shape 20x18x5, got 20x18x6"),
        (elsewhere(LABEL), "case_002.nii.gz: expected the same place in the world"),
    ],
}


@pytest.mark.parametrize(
    ("layout", "damage", "said"),
    [(layout, damage, said) for layout, cases in BROKEN.items() for damage, said in cases],
    ids=list(chain(*([f"{name}-{n}" for n in range(len(c))] for name, c in BROKEN.items()))),
)
def test_broken_folders_are_refused(layout: str, damage: Break, said: str, tmp_path: Path) -> None:
    root = write(layout, tmp_path / "data")
    damage(root)
    with pytest.raises(DatasetError) as caught:
        summarize(opened(layout, root))
    assert said in str(caught.value).replace("does not overlay case_002.nii.gz: ", "")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["synapse", "promise12", "nifti"])
def test_make_and_check_by_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, sheet = str(tmp_path / "data"), tmp_path / "sheet.png"
    small = ["--sequences", "2", "--frames", "4", "--size", "48x40"]
    assert main(["data", "make", name, data, *small]) == 0
    assert main(["data", "check", name, data, "-o", str(sheet)]) == 0
    assert "8 frames, 8 annotated" in capsys.readouterr().out
    assert sheet.is_file()


def test_fixtures_are_written_one_volume_at_a_time(tmp_path: Path) -> None:
    config = PhantomSetConfig(sequences=2, frames=4, size=(40, 48))
    assert list(write_fixture("nifti", tmp_path, config)) == [4, 8]
    assert (tmp_path / "labelsTr/case_002.nii.gz").is_file()


def test_sequences_are_drawn_of_the_training_side(tmp_path: Path) -> None:
    plain = opened("nifti", write("nifti", tmp_path / "nifti", 5))
    split = draw_sequences(plain, 2, seed=1)
    names = [one.name for one in split.fit.sequences]
    assert len(names) == 2
    assert len(split.test.sequences) == 3
    assert not set(names) & {one.name for one in split.test.sequences}
    assert names == [one.name for one in draw_sequences(plain, 2, seed=1).fit.sequences]
    published = opened("prepared", write("prepared", tmp_path / "prepared", 3))
    sides = draw_sequences(published, 1, seed=0)
    assert [one.split for one in sides.fit.sequences] == ["train"]
    assert [one.split for one in sides.test.sequences] == ["test"], "the other one is in neither"
    with pytest.raises(DatasetError, match="none for the test"):
        draw_sequences(plain, 5, seed=0)


def test_bench_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model that finds what is bright, as its first class, and never its second."""
    config = BodyConfig(organs=2, shape=(40, 36, 6), spacing_mm=(4, 4, 12))
    made = [phantom_volume(seed, config) for seed in range(3)]
    for _ in write_nifti_folder(made, tmp_path / "data", ["bright", "never"]):
        pass
    monkeypatch.setattr(benchmarks.quality.volumes, "_fitted", lambda *_: (FakeTracker(), {}))
    out = tmp_path / "out/result.json"
    assert main(["bench", "volumes", str(tmp_path / "data"), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert len(result["fitted_on"]) == 2
    (tested,) = result["tested_on"]
    assert "too few" in result["warning"]
    assert "too few" in capsys.readouterr().out
    body = made[int(tested.removeprefix("case_")) - 1]
    bright, truth = Window(-125, 275).grey(body.voxels) > 150, body.labels == 1
    expected = 2 * (bright & truth).sum() / (bright.sum() + truth.sum())
    assert result["classes"]["bright"]["dsc"]["mean"] == pytest.approx(expected)
    assert result["classes"]["never"]["dsc"]["mean"] == 0
    diagonal = float(np.linalg.norm(np.multiply(config.shape, config.spacing_mm)))
    assert result["unit"] == "mm"
    assert result["classes"]["never"]["assd"]["mean"] == pytest.approx(diagonal)
    assert (tmp_path / f"out/{tested}.png").is_file()
    assert len((tmp_path / "out/result.csv").read_text().splitlines()) == 3

"""Headers of volumes that change what the bytes mean: honoured, or refused in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from models.datasets.nifti_folder import open_nifti_folder
from models.errors import DatasetError, VolumeError
from models.volumes import open_volume, read_labels

SHAPE = (8, 7, 5)
VOXELS = (np.arange(np.prod(SHAPE)) % 200).astype(np.int16).reshape(SHAPE)


def metaimage(path: Path, voxels: np.ndarray[Any, Any] = VOXELS, **fields: str) -> Path:
    """A .mhd with its voxels beside it. fields: replaced or added; "" leaves one out"""
    header = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False", "CompressedData": "False",
        "ElementSpacing": "1 2 4", "DimSize": " ".join(map(str, SHAPE)),
        "ElementType": "MET_SHORT",
    } | fields  # fmt: skip
    data = header.pop("ElementDataFile", f"{path.stem}.raw")
    lines = [f"{key} = {value}\n" for key, value in header.items() if value]
    path.write_text("".join(lines) + f"ElementDataFile = {data}\n")
    target = path.parent / data.replace("\\", "/")
    if "%" not in data and ".." not in data and not data.startswith("/"):
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(voxels.tobytes(order="F"))
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"ElementDataFile": "./a.raw"},
        {"ElementDataFile": "sub/a.raw"},
        {"ElementDataFile": "sub\\a.raw"},
        {"BinaryData": ""},
        {"BinaryData": "true"},
        {"ElementSpacing": "", "ElementSize": "1 2 4"},
        {"HeaderSize": "-1"},
        {"HeaderSize": "0"},
        {"NDims": ""},
    ],
    ids=str,
)
def test_headers_that_mean_the_same_are_read_alike(tmp_path: Path, fields: dict[str, str]) -> None:
    volume = open_volume(metaimage(tmp_path / "a.mhd", **fields))
    assert np.array_equal(volume.read(), VOXELS)
    assert volume.grid.spacing_mm == pytest.approx((1, 2, 4))


def test_the_other_byte_order_is_honoured(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "a.mhd", VOXELS.astype(">i2"), BinaryDataByteOrderMSB="True")
    assert np.array_equal(open_volume(path).read(), VOXELS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"BinaryData": "False"}, "expected BinaryData = True, got False"),
        ({"BinaryData": "maybe"}, "expected BinaryData = True or False, got maybe"),
        ({"CompressedData": "gzip"}, "expected CompressedData = True or False, got gzip"),
        ({"ElementSpacing": "1 0 4"}, "expected ElementSpacing above 0"),
        ({"ElementSpacing": "1 -2 4"}, "expected ElementSpacing above 0"),
        ({"ElementSpacing": "1 nan 4"}, "expected ElementSpacing above 0"),
        ({"ElementSpacing": "1 2"}, "of DimSize's length"),
        ({"ElementNumberOfChannels": "3"}, "got several channels"),
        ({"ElementToIntensityFunctionSlope": "2"}, "without ElementToIntensityFunction"),
        ({"ObjectType": "Mesh"}, "expected ObjectType = Image, got Mesh"),
        ({"NDims": "4"}, "expected DimSize of NDims numbers"),
        ({"DimSize": "8 7 nan"}, "expected whole numbers in DimSize, got nan"),
        ({"DimSize": "8 7 5.5"}, "expected whole numbers in DimSize, got 5.5"),
        ({"DimSize": "8 7 1e30"}, "expected 1 to"),
        ({"HeaderSize": "inf"}, "expected whole numbers in HeaderSize, got inf"),
        ({"ElementDataFile": "../a.raw"}, "expected its voxels in one file beside it"),
        ({"ElementDataFile": "/etc/passwd"}, "expected its voxels in one file beside it"),
        ({"ElementDataFile": "a%03d.raw 1 5 1"}, "expected its voxels in one file beside it"),
        ({"ElementDataFile": "LIST"}, "expected its voxels in one file beside it"),
    ],
    ids=str,
)
def test_headers_that_mean_something_else_are_refused(
    tmp_path: Path, fields: dict[str, str], expected: str
) -> None:
    with pytest.raises(VolumeError, match=r"a\.mhd: expected") as caught:
        open_volume(metaimage(tmp_path / "a.mhd", **fields)).read()
    assert expected in str(caught.value)


def nifti(path: Path, voxels: np.ndarray[Any, Any] = VOXELS, **header: Any) -> Path:
    image: Any = nibabel.nifti1.Nifti1Image(voxels, np.eye(4))
    intent = header.pop("intent", None)
    for key, value in header.items():
        image.header[key] = value
    if intent:
        image.header.set_intent(intent)
    image.to_filename(path)
    return path


def scaled(path: Path, slope: float, inter: float) -> Path:
    """Bytes of the header that nibabel would compute itself."""
    nifti(path)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("slope", "inter"), [(2, -1024), (0.5, 0), (1, 3), (-1, 0)])
def test_the_scale_of_a_nifti_is_honoured(tmp_path: Path, slope: float, inter: float) -> None:
    read = open_volume(scaled(tmp_path / "a.nii", slope, inter)).read()
    assert read == pytest.approx(VOXELS * slope + inter)


def test_no_scale_is_no_scale(tmp_path: Path) -> None:
    """A slope of 0 says that there is none."""
    read = open_volume(scaled(tmp_path / "a.nii", 0, 7)).read()
    assert np.array_equal(read, VOXELS)


@pytest.mark.parametrize("intent", ["z score", "p value", "vector", "displacement vector", "shape"])
def test_numbers_that_are_no_picture_are_refused(tmp_path: Path, intent: str) -> None:
    with pytest.raises(VolumeError, match=f"expected intensities or labels.*{intent}"):
        open_volume(nifti(tmp_path / "a.nii", intent=intent))


@pytest.mark.parametrize("intent", ["none", "label", "estimate"])
def test_pictures_and_labels_are_read(tmp_path: Path, intent: str) -> None:
    assert np.array_equal(open_volume(nifti(tmp_path / "a.nii", intent=intent)).read(), VOXELS)


def test_labels_near_whole_numbers_are_these(tmp_path: Path) -> None:
    """As resampling and scaling leave them."""
    image = open_volume(nifti(tmp_path / "a.nii"))
    labels = (VOXELS % 3).astype(np.float32)
    near = open_volume(nifti(tmp_path / "near.nii", labels + np.float32(4e-4)))
    assert np.array_equal(read_labels(near, image), labels)
    far = open_volume(nifti(tmp_path / "far.nii", labels + np.float32(0.2)))
    with pytest.raises(VolumeError, match=r"expected label ids from 0 to 255, got 0\.2"):
        read_labels(far, image)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("case_2.nrrd", b"NRRD0004\n", "got NRRD"),
        ("IM1", bytes(128) + b"DICM", "got DICOM; volumes are"),
        ("case_2.mgz", b"x", "got FreeSurfer's MGH"),
    ],
)
def test_volumes_that_would_be_passed_over_are_named(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        nifti(tmp_path / folder / "case_1.nii", (VOXELS % 2).astype(np.uint8))
    assert len(open_nifti_folder(tmp_path).sequences) == 1
    (tmp_path / "labelsTr" / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"labelsTr/{name}: expected volumes") as caught:
        open_nifti_folder(tmp_path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_dataset_json_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        nifti(tmp_path / folder / "case_1.nii", (VOXELS % 2).astype(np.uint8))
    text = json.dumps({"labels": {"background": 0, "liver": 1.0000001}})
    (tmp_path / "dataset.json").write_text(text, encoding=encoding)
    assert open_nifti_folder(tmp_path).classes[0].name == "liver"

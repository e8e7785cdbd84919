"""Volumes: what is read, where it lies in the world, and that labels lie exactly there again."""

from __future__ import annotations

import gzip
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from models.datasets.promise12 import write_mhd
from models.errors import VolumeError
from models.volumes import (
    Grid,
    SlicePlane,
    Window,
    choose_window,
    open_volume,
    read_labels,
    slice_order,
)
from models.volumes.phantom import BodyConfig, phantom_volume
from models.volumes.stack import SliceStack

OBLIQUE = BodyConfig(
    shape=(13, 11, 7), spacing_mm=(0.7, 0.9, 5.0), turned=(20, -11), flipped=(True, False, True)
)
PLAIN = BodyConfig(shape=(13, 11, 7))
FORMATS = ("v.nii", "v.nii.gz", "v.mhd", "v.mha")


def write(path: Path, voxels: np.ndarray, grid: Grid) -> Path:
    """A volume in the format of its name, by other code than what is tested where there is any."""
    if path.suffix == ".mhd":
        write_mhd(path, voxels, grid)
    elif path.suffix == ".mha":
        write_mhd(path.with_suffix(".mhd"), voxels, grid)
        head = path.with_suffix(".mhd").read_text().replace(f"{path.stem}.raw", "LOCAL")
        path.write_bytes(head.encode() + path.with_suffix(".raw").read_bytes())
    else:
        nibabel.nifti1.Nifti1Image(voxels, grid.affine).to_filename(path)
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("config", [OBLIQUE, PLAIN], ids=["oblique", "plain"])
def test_voxels_and_place_come_back(tmp_path: Path, name: str, config: BodyConfig) -> None:
    body = phantom_volume(0, config)
    volume = open_volume(write(tmp_path / name, body.voxels, body.grid))
    assert np.array_equal(volume.read(), body.voxels)
    assert volume.grid.spacing_mm == pytest.approx(config.spacing_mm, rel=1e-6)
    for index in ((0, 0, 0), (12, 0, 3), (5, 10, 6)):
        assert volume.grid.world(index) == pytest.approx(body.grid.world(index), abs=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_labels_lie_exactly_on_the_image(tmp_path: Path, name: str) -> None:
    body = phantom_volume(0, OBLIQUE)
    volume = open_volume(write(tmp_path / name, body.voxels, body.grid))
    out = tmp_path / f"labels{volume.suffix}"
    volume.write_labels(out, body.labels)
    again = open_volume(out)
    assert np.array_equal(again.grid.affine, volume.grid.affine), "to the last bit"
    assert again.grid.shape == volume.grid.shape
    assert np.array_equal(read_labels(again, volume), body.labels)


def world_of_nifti(path: Path, index: tuple[int, int, int], *, sform: bool) -> np.ndarray:
    """World coordinates straight from the header's bytes, by the standard's formulas."""
    content = path.read_bytes()
    header = gzip.decompress(content) if path.suffix == ".gz" else content
    if sform:
        rows = np.array(struct.unpack("<12f", header[280:328])).reshape(3, 4)
        return np.asarray(rows @ [*index, 1])
    b, c, d, *offset = struct.unpack("<6f", header[256:280])
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    qfac, *sides = struct.unpack("<4f", header[76:92])
    turn = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    scaled = np.array(index) * sides * [1, 1, qfac or 1]
    return np.asarray(turn @ scaled + offset)


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 1)], ids=["qform", "sform", "both"])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_both_nifti_forms_survive_by_the_standards_own_formulas(
    tmp_path: Path, name: str, codes: tuple[int, int]
) -> None:
    body = phantom_volume(0, OBLIQUE)
    image = nibabel.nifti1.Nifti1Image(body.voxels, None)
    image.set_qform(body.grid.affine, codes[0])
    image.set_sform(body.grid.affine, codes[1])
    image.to_filename(tmp_path / name)
    volume = open_volume(tmp_path / name)
    out = tmp_path / f"labels{volume.suffix}"
    volume.write_labels(out, body.labels)
    for index in ((0, 0, 0), (12, 0, 6), (3, 10, 1)):
        for code, sform in zip(codes, (False, True), strict=True):
            if code:
                before = world_of_nifti(tmp_path / name, index, sform=sform)
                after = world_of_nifti(out, index, sform=sform)
                assert np.array_equal(before, after)
                assert after == pytest.approx(volume.grid.world(index), abs=1e-3)


def test_a_sheared_affine_survives(tmp_path: Path) -> None:
    body = phantom_volume(0, PLAIN)
    affine = body.grid.affine.copy()
    affine[1, 2] = 1.75  # a tilted gantry
    volume = open_volume(write(tmp_path / "v.nii", body.voxels, Grid(body.grid.shape, affine)))
    volume.write_labels(tmp_path / "labels.nii", body.labels)
    assert np.array_equal(open_volume(tmp_path / "labels.nii").grid.affine, affine)


# Header and world coordinates of voxel (1, 2, 3) as ITK 5.4 wrote and computed them, in LPS.
ITK_HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = -0.95533648912560598 -0.29552020666133955 0 -0.28962947762551555 \
0.93629336358419923 0.19866933079506122 -0.058710801693826517 0.18979606097868743 \
-0.98006657784124163
Offset = 10.5 -20.25 33.100000000000001
CenterOfRotation = 0 0 0
AnatomicalOrientation = LAS
ElementSpacing = 0.69999999999999996 0.80000000000000004 5
DimSize = 3 4 5
ElementType = MET_SHORT
ElementDataFile = itk.raw
"""
ITK_WORLD = (8.487195268003852, -16.111853848247907, 18.716872261653474)


def test_metaimage_lies_where_itk_puts_it(tmp_path: Path) -> None:
    (tmp_path / "itk.mhd").write_text(ITK_HEADER)
    numbers = np.arange(60, dtype="<i2")
    (tmp_path / "itk.raw").write_bytes(numbers.tobytes())
    volume = open_volume(tmp_path / "itk.mhd")
    x, y, z = volume.grid.world((1, 2, 3)).tolist()
    assert (-x, -y, z) == pytest.approx(ITK_WORLD, abs=1e-9)
    assert volume.read()[1, 2, 3] == 1 + 2 * 3 + 3 * 12


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "u2", "f4", "u1"])
def test_metaimage_types_and_byte_orders(tmp_path: Path, kind: str, order: str) -> None:
    names = {"i2": "MET_SHORT", "u2": "MET_USHORT", "f4": "MET_FLOAT", "u1": "MET_UCHAR"}
    voxels = np.arange(24).reshape(2, 3, 4).astype(order + kind)
    lines = f"NDims = 3\nDimSize = 2 3 4\nBinaryDataByteOrderMSB = {order == '>'}\n"
    lines += f"ElementType = {names[kind]}\nElementDataFile = LOCAL\n"
    (tmp_path / "v.mha").write_bytes(lines.encode() + voxels.tobytes(order="F"))
    assert np.array_equal(open_volume(tmp_path / "v.mha").read(), voxels)


def test_scaled_nifti_gives_the_scaled_numbers(tmp_path: Path) -> None:
    values = np.linspace(-1000, 900, 60).reshape(3, 4, 5)
    image = nibabel.nifti1.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "v.nii.gz")
    read = open_volume(tmp_path / "v.nii.gz").read()
    assert read.dtype == np.float32
    assert read == pytest.approx(values, abs=0.1)


def test_nothing_of_the_patient_is_copied(tmp_path: Path) -> None:
    body = phantom_volume(0, PLAIN)
    image: Any = nibabel.nifti1.Nifti1Image(body.voxels, body.grid.affine)
    image.header["descrip"] = b"DOE^JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"born 1960"))
    image.to_filename(tmp_path / "v.nii")
    open_volume(tmp_path / "v.nii").write_labels(tmp_path / "labels.nii", body.labels)
    content = (tmp_path / "labels.nii").read_bytes()
    assert b"DOE" not in content
    assert b"born" not in content


def test_slices_look_alike_however_a_volume_is_stored() -> None:
    """Turning and flipping the array along with its affine changes no slice."""
    body = phantom_volume(0, BodyConfig(shape=(12, 10, 6), spacing_mm=(2, 2, 5)))
    plane = SlicePlane.of(body.grid)
    turned = np.ascontiguousarray(np.transpose(body.voxels, (2, 0, 1))[:, ::-1, :])
    affine = body.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:, 1] *= -1
    other = SlicePlane.of(Grid((6, 12, 10), affine))
    assert (plane.axis, other.axis) == (2, 0)
    for number in range(6):
        assert np.array_equal(plane.cut(body.voxels, number), other.cut(turned, number))


def test_rows_run_to_posterior_and_columns_to_the_left() -> None:
    voxels = np.zeros((4, 5, 6), np.int16)
    voxels[3, :, :] = 1  # the patient's right, x to the right being positive
    voxels[:, 4, :] = 2  # anterior
    shown = SlicePlane.of(Grid((4, 5, 6), np.diag([1.0, 1, 3, 1]))).cut(voxels, 0)
    assert (shown[0] == 2).all(), "anterior above"
    assert (shown[1:, 0] == 1).all(), "the patient's right on the left"


@pytest.mark.parametrize(("spacing", "axis"), [((1, 1, 5), 2), ((4, 1, 1), 0), ((1, 1, 1), 2)])
def test_the_coarsest_axis_counts_slices(spacing: tuple[int, int, int], axis: int) -> None:
    assert SlicePlane.of(Grid((4, 5, 6), np.diag([*map(float, spacing), 1]))).axis == axis


def test_labels_put_back_slice_by_slice_are_the_labels() -> None:
    body = phantom_volume(1, OBLIQUE)
    for axis in range(3):
        plane, again = SlicePlane.of(body.grid, axis), np.zeros_like(body.labels)
        for number in range(plane.count(body.grid.shape)):
            plane.cut(again, number)[...] = plane.cut(body.labels, number).copy()
        assert np.array_equal(again, body.labels)


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_orders_visit_every_slice_once(count: int) -> None:
    for order in ("middle-out", "in-order"):
        first, second = slice_order(count, order)
        assert sorted((*first, *second)) == list(range(count))
    first, second = slice_order(count, "middle-out")
    assert first[0] == count // 2
    assert all(abs(a - b) == 1 for run in (first, second) for a, b in pairwise(run))


def test_windows() -> None:
    ct = phantom_volume(0).voxels
    assert (choose_window(ct).low, choose_window(ct).high) == (-125, 275)
    mr = phantom_volume(0, BodyConfig(mr=True)).voxels
    chosen = choose_window(mr)
    assert (chosen.low, chosen.high) == pytest.approx(np.percentile(mr, (0.5, 99.5)))
    flat = choose_window(np.full((3, 3, 3), 7))
    assert set(np.unique(flat.grey(np.full((2, 2), 7)))) == {0}
    grey = Window(-125, 275).grey(np.array([-2000, -125, 75, 275, 3000], np.int16))
    assert grey.tolist() == [0, 0, 128, 255, 255]


def test_a_stack_is_one_byte_a_voxel(tmp_path: Path) -> None:
    body = phantom_volume(0, PLAIN)
    volume = open_volume(write(tmp_path / "v.nii", body.voxels, body.grid))
    stack = SliceStack.of(volume, SlicePlane.of(volume.grid))
    assert stack.grey.nbytes == body.voxels.size
    assert stack.image_rgb(3).shape == (11, 13, 3)


def broken(folder: Path, what: str) -> Path:
    """A file that is no volume."""
    body = phantom_volume(0, PLAIN)
    good = {name: write(folder / name, body.voxels, body.grid) for name in FORMATS}
    nifti = nibabel.nifti1.Nifti1Image
    if what.startswith("truncated "):
        path = good[what.removeprefix("truncated ")]
        data = path.with_suffix(".raw") if path.suffix == ".mhd" else path
        data.write_bytes(data.read_bytes()[: data.stat().st_size * 6 // 10])
        return path
    path = folder / "bad.nii"
    if what == "2-D":
        nifti(body.voxels[..., 0], np.eye(4)).to_filename(path)
    elif what == "4-D":
        nifti(np.stack([body.voxels] * 3, axis=3), np.eye(4)).to_filename(path)
    elif what == "NaN":
        values = body.voxels.astype(np.float32)
        values[3, 2, 1] = np.nan
        nifti(values, np.eye(4)).to_filename(path)
    elif what == "flat":
        path = good["v.nii"]
        content = bytearray(path.read_bytes())
        content[280:296] = bytes(16)  # the first row of the affine
        path.write_bytes(content)
    elif what == "colour":
        pixels = np.zeros((4, 4, 4), np.dtype([(channel, "u1") for channel in "RGB"]))
        nifti(pixels, np.eye(4)).to_filename(path)
    elif what == "empty":
        path.touch()
    elif what == "text":
        path = folder / "bad.mha"
        path.write_text("this is no volume\n" * 9)
    elif what == "no raw":
        path = good["v.mhd"]
        path.with_suffix(".raw").unlink()
    elif what == "raw elsewhere":
        path = good["v.mhd"]
        path.write_text(path.read_text().replace("v.raw", "../v.raw"))
    elif what == "2-D mhd":
        path = good["v.mhd"]
        path.write_text(
            "NDims = 2\nDimSize = 4 4\nElementType = MET_SHORT\nElementDataFile = v.raw\n"
        )
    elif what == "huge":
        path = good["v.nii"]
        content = bytearray(path.read_bytes())
        content[42:48] = struct.pack("<3h", 30000, 30000, 30000)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("truncated v.nii", "expected a whole NIfTI volume"),
        ("truncated v.nii.gz", "expected a whole NIfTI volume"),
        ("truncated v.mhd", "bytes of voxels in v.raw, got"),
        ("truncated v.mha", "bytes of voxels in v.mha, got"),
        ("2-D", "expected three dimensions, got 2"),
        ("2-D mhd", "expected three dimensions, got 2"),
        ("4-D", "expected three dimensions, got 4"),
        ("NaN", "expected finite voxels, got 1"),
        ("flat", "expected axes that span space"),
        ("colour", "expected one number a voxel"),
        ("empty", "Empty file"),
        ("text", "expected a MetaImage header"),
        ("no raw", "expected its voxels in v.raw beside it, found no file"),
        ("raw elsewhere", "expected its voxels in one file beside it"),
        ("huge", "expected 1 to"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, what: str, said: str) -> None:
    path = broken(tmp_path, what)
    with pytest.raises(VolumeError) as caught:
        open_volume(path).read()
    message = str(caught.value)
    assert said in message
    assert path.name in message
    assert "\n" not in message


def test_labels_of_another_shape_or_place_are_refused(tmp_path: Path) -> None:
    body = phantom_volume(0, PLAIN)
    image = open_volume(write(tmp_path / "v.nii", body.voxels, body.grid))
    short = Grid((13, 11, 6), body.grid.affine)
    other = open_volume(write(tmp_path / "short.nii", body.labels[..., :6], short))
    with pytest.raises(
        VolumeError, match=r"short\.nii.*v\.nii: expected shape 13x11x7, got 13x11x6"
    ):
        read_labels(other, image)
    moved = body.grid.affine.copy()
    moved[0, 3] += 2.5
    place = open_volume(write(tmp_path / "moved.nii", body.labels, Grid(body.grid.shape, moved)))
    with pytest.raises(VolumeError, match=r"moved\.nii.*corners are up to 2\.5 mm apart"):
        read_labels(place, image)
    halves = open_volume(write(tmp_path / "halves.nii", body.labels * 0.5, body.grid))
    with pytest.raises(
        VolumeError, match=r"halves\.nii: expected label ids from 0 to 255, got 0\.5"
    ):
        read_labels(halves, image)

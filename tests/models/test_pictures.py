"""Pictures and masks as cameras, phones and tools write them."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets.folder import open_folder
from models.datasets.image_files import image_size, list_images, natural, passed_over, read_image
from models.datasets.registry import open_dataset
from models.datasets.summary import Summary, summarize
from models.errors import DatasetError
from models.types import UInt8Array
from service.commands.main import main
from tests.support.layouts import EVERYTHING, write_tiny
from tests.support.odd_sets import folder_set, scene
from tests.support.segmenting import read_report, with_a_fake

TURNS = {  # EXIF's value -> how the stored picture lies beside the shown one
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def checked(root: Path) -> Summary:
    return summarize(open_folder(root))


def oriented(image: UInt8Array, value: int, path: Path) -> None:
    """Save as a camera does that was held otherwise: turned, with EXIF that says how."""
    exif = Image.Exif()
    exif[0x112] = value
    stored = Image.fromarray(np.ascontiguousarray(TURNS[value](image)))
    stored.save(path, exif=exif, quality=95) if path.suffix == ".jpg" else stored.save(
        path, exif=exif
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("value", TURNS)
def test_a_picture_stands_as_its_exif_says(tmp_path: Path, value: int, suffix: str) -> None:
    image, _ = scene()
    path = tmp_path / f"a{suffix}"
    oriented(image, value, path)
    read = read_image(path)
    assert read.shape == image.shape
    assert image_size(path) == image.shape[:2]
    assert np.abs(read.astype(int) - image).mean() < 4


@pytest.mark.parametrize("value", TURNS)
def test_masks_lie_on_pictures_and_are_turned_alike(tmp_path: Path, value: int) -> None:
    root = folder_set(tmp_path / "set", frames=1)
    image, mask = scene()
    (root / "clip/images/000.png").unlink()
    oriented(image, value, root / "clip/images/000.jpg")
    frame = open_folder(root).annotated()[0]
    assert frame.read_mask is not None
    assert frame.read_image()[frame.read_mask() == 1].mean() > 200
    oriented(mask, value, root / "clip/masks/000.png")
    assert np.array_equal(frame.read_mask(), mask)


def test_a_folder_of_a_phones_pictures_is_segmented_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        oriented(scene(number)[0], 6, folder / f"{number}.jpg")
    assert with_a_fake(monkeypatch, tmp_path / "out")(folder) == 0
    assert read_report(tmp_path / "out")["size"] == {"height": 48, "width": 64}


@pytest.mark.parametrize("palette", [[255, 255, 255], [2, 2, 2], [128, 0, 0], [0, 0, 0]], ids=str)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palettes_index_is_the_id_whatever_its_colour(
    tmp_path: Path, palette: list[int], bits: int
) -> None:
    def save(path: Path, mask: UInt8Array) -> None:
        indexed = Image.fromarray(mask, mode="P")
        indexed.putpalette([0, 0, 0, *palette])
        indexed.save(path, bits=bits)

    found = checked(folder_set(tmp_path / "set", save=save))
    assert found.classes[0].frames == 4
    assert found.classes[1].frames == 0
    assert found.ignored == 0


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_not_stretched(tmp_path: Path, bits: int) -> None:
    """A PNG of 2 or 4 bits a pixel: what is stored as 1 is class 1, not 85 or 17."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", sum_)

    def save(path: Path, mask: UInt8Array) -> None:
        height, width = mask.shape
        each = 8 // bits
        packed = mask.reshape(height, width // each, each)
        shifts = np.arange(each)[::-1] * bits
        rows = (packed << shifts).sum(axis=2).astype(np.uint8)
        lines = b"".join(b"\0" + row.tobytes() for row in rows)
        header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))

    found = checked(folder_set(tmp_path / "set", save=save))
    assert found.classes[0].frames == 4


def black_and_white(path: Path, mask: UInt8Array) -> None:
    Image.fromarray(np.where(mask > 0, 255, 0).astype(np.uint8)).save(path)


def one_bit(path: Path, mask: UInt8Array) -> None:
    Image.fromarray(mask > 0).save(path)


@pytest.mark.parametrize("save", [black_and_white, one_bit])
def test_masks_of_0_and_255_are_told_what_255_means(
    tmp_path: Path, save: object, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_set(tmp_path / "set", save=save)  # type: ignore[arg-type]
    for command in (["data", "check", "folder", str(root)], ["fit", str(root), "-o", "x"]):
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "0 and 255 alone: 255 is ignored here" in said
        assert "write the class's id, 1 say" in said


def test_where_some_masks_are_black_and_white_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_set(tmp_path / "set")
    for number in range(2):
        black_and_white(root / f"clip/masks/{number:03d}.png", scene(number)[1])
    assert main(["data", "check", "folder", str(root)]) == 0
    assert "2 of 4 masks hold 0 and 255 alone" in capsys.readouterr().out


def test_suffixes_are_suffixes_in_capitals_too(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    for part, number in (("masks", 0), ("masks", 1), ("images", 1), ("images", 2)):
        path = root / f"clip/{part}/{number:03d}.png"
        path.rename(path.with_suffix(".PNG"))
    assert checked(root).annotated == 4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: (m / "000.png").rename(m / "000.jpg"), "clip/masks/000.jpg: expected .png"),
        (lambda m: (m / "000.png").rename(m / "000.bmp"), "clip/masks/000.bmp: expected .png"),
        (lambda m: (m / "notes.npy").write_bytes(b"x"), "clip/masks/notes.npy: expected .png"),
        (lambda m: (m / "000.png").rename(m / "x.PNG"), "clip/masks/x.PNG: expected an image of"),
        (lambda m: shutil.copy(m / "000.png", m / "000.PNG"), "expected one file called 000"),
        (lambda m: Image.open(m / "000.png").save(m / "000.png", "JPEG"), "PNG, got JPEG"),
    ],
)
def test_masks_that_would_be_passed_over_are_told(
    tmp_path: Path, change: object, expected: str
) -> None:
    root = folder_set(tmp_path / "set")
    change(root / "clip/masks")  # type: ignore[operator]
    with pytest.raises(DatasetError, match="expected") as caught:
        checked(root)
    assert expected in str(caught.value)


def hide(root: Path) -> None:
    """What macOS, Jupyter, Windows and editors leave beside every file."""
    for path in [one for one in root.rglob("*") if one.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(90))
    for folder in [one for one in root.rglob("*") if one.is_dir()] + [root]:
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
        (folder / ".ipynb_checkpoints").mkdir()
        (folder / ".ipynb_checkpoints/000-checkpoint.png").write_bytes(b"x")
    (root / "__MACOSX/clip/images").mkdir(parents=True)


def test_hidden_files_are_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_set(tmp_path / "set")
    hide(root)
    found = checked(root)
    assert (found.frames, found.annotated, found.groups) == (4, 4, 1)
    assert with_a_fake(monkeypatch, tmp_path / "out")(root / "clip/images") == 0
    report = read_report(tmp_path / "out")
    assert (report["frames"], report["complete"]) == (4, True)


@pytest.mark.parametrize("name", ["davis", "autolaparo", "cholecseg8k", "endovis2017", "coco"])
def test_hidden_files_are_no_data_in_any_layout(tmp_path: Path, name: str) -> None:
    root = write_tiny(name, tmp_path / "set")
    choices = EVERYTHING.get(name, {})
    before = summarize(open_dataset(name, root, **choices))
    hide(root)
    after = summarize(open_dataset(name, root, **choices))
    assert (after.frames, after.annotated) == (before.frames, before.annotated)


@pytest.mark.parametrize(
    "name", ["²2", "10²5", "①", "٣", "frame_१२", "ß", "a" * 200, "½", "𝟜", "İ", "日本語", "e\u0301"]
)
def test_any_name_sorts(tmp_path: Path, name: str) -> None:
    root = folder_set(tmp_path / "set")
    for part in ("images", "masks"):
        (root / f"clip/{part}/003.png").rename(root / f"clip/{part}/{name}.png")
    assert checked(root).annotated == 4


def test_numbers_sort_as_numbers_and_alike_names_always_the_same() -> None:
    names = ["frame_10", "frame_2", "frame_002", "Frame_2", "frame_1"]
    first = sorted(map(Path, names), key=natural)
    assert first == sorted(map(Path, reversed(names)), key=natural)
    assert (first[0].name, first[-1].name) == ("frame_1", "frame_10")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_part_of_a_picture_is_no_picture(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    assert read_image(path).shape == (60, 80, 3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DatasetError, match=f"a{suffix}: expected a readable image"):
        read_image(path)


def test_several_pictures_in_a_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(scene(n)[0]) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DatasetError, match="expected one picture in a file, got 3"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".tiff", ".webp", ".JPG", ".jfif"])
def test_formats_that_pillow_reads_are_read(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        image = Image.fromarray(scene(number)[0])
        form = {".webp": "WEBP", ".JPG": "JPEG", ".jfif": "JPEG"}.get(suffix)
        if number == 1:
            image.save(folder / f"1{suffix}", form)
        else:
            image.save(folder / f"{number}.png")
    assert len(list_images(folder)) == 3
    assert with_a_fake(monkeypatch, tmp_path / "out")(folder) == 0
    assert read_report(tmp_path / "out")["frames"] == 3


def test_pictures_that_are_passed_over_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_set(tmp_path / "set")
    images = root / "clip/images"
    (images / "004.HEIC").write_bytes(b"x")
    (images / "readme.txt").write_text("not a picture, and not missed")
    assert [path.name for path in passed_over(images)] == ["004.HEIC"]
    assert with_a_fake(monkeypatch, tmp_path / "out")(images) == 0
    report = read_report(tmp_path / "out")
    assert (report["frames"], report["complete"]) == (4, False)
    assert report["problem"] == "1 file passed over: 004.HEIC"
    assert main(["data", "check", "folder", str(root)]) == 2
    assert "clip/images/004.HEIC: expected images as .png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("IM1.dcm", bytes(128) + b"DICM", "got DICOM; volumes are .nii, .nii.gz, .mhd, .mha"),
        ("IM000001", bytes(128) + b"DICM", "got DICOM"),
        ("a.nrrd", b"NRRD0004\n", "got NRRD"),
        ("scan.img", b"\0" * 400, "got Analyze"),
        ("brain.mgz", b"\0" * 400, "got FreeSurfer's MGH"),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["file", "folder"])
def test_volumes_of_other_formats_are_named_with_the_way_to_convert(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    expected: str,
    inside: bool,
) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / name).write_bytes(content)
    run = with_a_fake(monkeypatch, tmp_path / "out")
    assert run(folder if inside else folder / name) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert expected in said
    assert "convert it" in said


def test_classes_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    text = json.dumps({"classes": [{"id": 1, "name": "Zange für Öl"}]})
    for encoding in ("utf-8-sig", "utf-16"):
        (root / "classes.json").write_text(text, encoding=encoding)
        assert open_folder(root).classes[0].name == "Zange für Öl"


def test_class_ids_near_a_whole_number_are_that_number(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    (root / "classes.json").write_text('{"classes": [{"id": 1.0000001, "name": "grasper"}]}')
    assert checked(root).classes[0].frames == 4


@pytest.mark.parametrize("place", ["JPEGImages/480p", "left_frames"])
def test_two_pictures_of_one_name_are_told(tmp_path: Path, place: str) -> None:
    """Which of them the mask belongs to nobody knows."""
    name = "davis" if "480p" in place else "endovis2017"
    root = write_tiny(name, tmp_path / "set")
    image = sorted(root.rglob(f"*{place}*/**/*.*g"))[0]
    other = ".png" if image.suffix == ".jpg" else ".jpg"
    Image.open(image).convert("RGB").save(image.with_suffix(other))
    with pytest.raises(DatasetError, match="two images share a stem"):
        open_dataset(name, root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"classes": [{"id": ' + "9" * 5000 + "}]}", "not valid JSON"),
        ('{"classes": [{"id": NaN, "name": "x"}]}', "expected an integer id, got nan"),
        (b"\xff\xfe\x00", "not valid JSON"),
    ],
)
def test_json_that_makes_no_sense_is_refused_in_a_line(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    root = folder_set(tmp_path / "set")
    (root / "classes.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=r"classes\.json") as caught:
        open_folder(root)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 300

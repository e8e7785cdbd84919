"""Colours: by the matrix and range that a stream states, by its size where it states none."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from models.types import UInt8Array
from streaming.pictures import Pictures
from streaming.video_file import VideoFile
from streaming.video_writer import VideoWriter
from tests.support.odd_clips import Clip, read, tagged_colour, write
from tests.support.segmenting import read_report, with_a_fake

# ITU-T H.273: number -> weights of red and blue in brightness.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
WEIGHTS[6] = WEIGHTS[5]
NAMES = {1: "BT.709", 4: "FCC", 5: "BT.601", 6: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
FORMATS = {  # name -> bits, and by how much colour is stored more coarsely: down, right
    "yuv420p": (8, 2, 2), "yuv422p": (8, 1, 2), "yuv444p": (8, 1, 1), "yuv420p10le": (10, 2, 2),
    "yuv422p10le": (10, 1, 2), "yuv444p12le": (12, 1, 1),
}  # fmt: skip
PATCH = 16
SD, HD = (96, 128), (608, 128)
CLOSE = 3  # levels


def patches(size: tuple[int, int]) -> UInt8Array:
    """Patches of one colour each. (H, W, 3)"""
    rng = np.random.default_rng(5)
    rows, columns = size[0] // PATCH, size[1] // PATCH
    few = rng.integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    few[0, :4] = [(200, 40, 40), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    return few.repeat(PATCH, 0).repeat(PATCH, 1)


def stored(rgb: UInt8Array, matrix: int, full: bool, pixels: str) -> av.VideoFrame:
    """As a camera computes it, by the definition of the matrix."""
    bits, down, right = FORMATS[pixels]
    red, blue = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb / 255, 2, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    colours = [(b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)]
    unit = 2 ** (bits - 8)
    top = 2**bits - 1
    planes = [y * top if full else (16 + 219 * y) * unit]
    for one in colours:
        coarse = one[::down, ::right]
        planes.append(2 ** (bits - 1) + coarse * (top if full else 224 * unit))
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], pixels)
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    for plane, values in zip(frame.planes, planes, strict=True):
        row = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        row[:, : plane.width] = np.rint(values).clip(0, top)
        plane.update(row.tobytes())
    return frame


def in_patches(image: UInt8Array) -> UInt8Array:
    return image[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]


def off(image: UInt8Array, expected: UInt8Array) -> int:
    return int(np.abs(in_patches(image).astype(int) - in_patches(expected)).max())


def by_ffmpeg(path: Path, matrix: str, color_range: str) -> UInt8Array:
    scale = f"scale=in_color_matrix={matrix}:in_range={color_range}"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", scale, "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    height, width = VideoFile(path).size
    return np.frombuffer(raw.stdout, np.uint8).reshape(height, width, 3)


@pytest.mark.parametrize(
    ("matrix", "color_range", "pixels"),
    list(product(WEIGHTS, (ColorRange.MPEG, ColorRange.JPEG), FORMATS)),
)
def test_what_a_stream_states_is_honoured(
    tmp_path: Path, matrix: int, color_range: ColorRange, pixels: str
) -> None:
    """The matrix of HD in SD and the other way round: the tag counts, not the size."""
    size = SD if matrix == 1 else HD
    full = color_range == ColorRange.JPEG
    frame = stored(patches(size), matrix, full, pixels)
    path = tagged_colour(tmp_path / "a.mkv", frame, matrix, color_range)
    frames, video = read(path)
    assert off(frames[0].image_rgb, patches(size)) <= CLOSE
    colour = video.taken_as().colour
    assert colour is not None
    assert (colour.matrix, colour.range) == (NAMES[matrix], "full" if full else "limited")
    assert colour.assumed == ()
    if shutil.which("ffmpeg"):
        name = {1: "bt709", 4: "fcc", 7: "smpte240m", 9: "bt2020"}.get(matrix, "bt601")
        reference = by_ffmpeg(path, name, "full" if full else "limited")
        assert np.abs(frames[0].image_rgb.astype(int) - reference).max() <= CLOSE


@pytest.mark.parametrize(
    ("size", "matrix"), [((576, 720), 6), ((480, 640), 6), ((720, 1280), 1), ((592, 64), 1)]
)
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv422p10le"])
def test_what_it_does_not_state_goes_by_its_size(
    tmp_path: Path, size: tuple[int, int], matrix: int, pixels: str
) -> None:
    frame = stored(patches(size), matrix, False, pixels)
    frames, video = read(tagged_colour(tmp_path / "a.mkv", frame, None, None))
    close = CLOSE + ("10" in pixels)  # libswscale rounds ten bits down
    assert off(frames[0].image_rgb, patches(size)) <= close
    colour = video.taken_as().status()["colour"]
    assert colour == {"matrix": NAMES[matrix], "range": "limited", "assumed": ["matrix", "range"]}


def test_live_pictures_are_taken_in_the_same_way() -> None:
    """What RTSP, WHIP and capture devices give goes through one place."""
    for size, matrix in ((SD, 6), (HD, 1)):
        live: Pictures[int] = Pictures()
        ((image, tag),) = live.pass_on(stored(patches(size), matrix, False, "yuv420p"), 7)
        assert off(image, patches(size)) <= CLOSE
        assert tag == 7
        assert live.taken_as().status()["colour"]["matrix"] == NAMES[matrix]


def test_a_matrix_that_is_not_known_is_said_to_be_assumed(tmp_path: Path) -> None:
    """YCgCo, which libswscale does not do."""
    frame = stored(patches(HD), 1, False, "yuv444p")
    frame.colorspace = 8
    pictures: Pictures[None] = Pictures()
    ((image, _),) = pictures.pass_on(frame, None)
    assert image.shape == (*HD, 3)
    colour = pictures.taken_as().colour
    assert colour is not None
    assert colour.assumed[0] == "matrix"


def test_a_stream_of_rgb_has_no_matrix(tmp_path: Path) -> None:
    image = patches(SD)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    pictures: Pictures[None] = Pictures()
    ((same, _),) = pictures.pass_on(frame, None)
    assert np.array_equal(same, image)
    assert pictures.taken_as().status()["colour"] == {
        "matrix": "RGB", "range": "full", "assumed": []
    }  # fmt: skip


def test_what_we_write_ourselves_is_read_as_it_was(tmp_path: Path) -> None:
    """The overlay of an HD recording states its matrix: it is not taken for BT.709."""
    image = cv2.resize(patches((96, 128)), (1280, 720), interpolation=cv2.INTER_NEAREST)
    writer = VideoWriter(tmp_path / "a.mp4", (720, 1280), Fraction(25))
    for number in range(3):
        writer.write(np.asarray(image, np.uint8), number * 40_000_000)
    writer.close()
    frames, video = read(tmp_path / "a.mp4")
    inner = np.s_[60::120, 80::160]
    assert np.abs(frames[0].image_rgb[inner].astype(int) - image[inner]).max() <= 12
    assert video.taken_as().status()["colour"]["assumed"] == []


def test_the_report_says_how_colour_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write(tmp_path / "a.mp4", Clip(frames=5, size=(720, 1280)))
    assert with_a_fake(monkeypatch, tmp_path / "out")(clip) == 0
    picture = read_report(tmp_path / "out")["picture"]
    assert picture["colour"]["matrix"] == "BT.709"
    assert "matrix" in picture["colour"]["assumed"]
    assert picture["deinterlaced"] is None

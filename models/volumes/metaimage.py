"""MetaImage: .mha, or .mhd with its voxels beside it (https://itk.org/Wiki/MetaIO/Documentation).

Its world has x to the patient's left and y posterior (LPS); a Grid's has them the other way.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import VolumeError
from models.types import UInt8Array
from models.volumes.grid import Affine, Grid, Voxels, checked_grid, checked_voxels

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
MATRIX = ("TransformMatrix", "Rotation", "Orientation")
OFFSET = ("Offset", "Position", "Origin")
PLACE = (*MATRIX, *OFFSET, "CenterOfRotation", "AnatomicalOrientation", "ElementSpacing")
FLAGS = {"true": True, "1": True, "false": False, "0": False}
MAX_HEADER = 64 * 1024
LONGEST_FIELD = 1000
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Header:
    """name: of the file, for messages; fields: as written; size: bytes before local voxels"""

    name: str
    fields: dict[str, str]
    size: int

    def text(self, *keys: str, default: str | None = None) -> str:
        """The first of these fields that is there. Raises VolumeError without a default."""
        for key in keys:
            if key in self.fields:
                return self.fields[key]
        if default is None:
            raise VolumeError(f"{self.name}: expected a MetaImage header with {keys[0]}")
        return default

    def numbers(self, *keys: str, default: str | None = None) -> list[float]:
        """Raises VolumeError."""
        text = self.text(*keys, default=default)
        try:
            numbers = [float(part) for part in text.split()]
        except ValueError as error:
            raise VolumeError(f"{self.name}: expected numbers in {keys[0]}, got {text}") from error
        if not numbers:
            raise VolumeError(f"{self.name}: expected numbers in {keys[0]}, got none")
        return numbers

    def whole_numbers(self, *keys: str, default: str | None = None) -> list[int]:
        """Raises VolumeError."""
        numbers = self.numbers(*keys, default=default)
        wrong = next((n for n in numbers if not math.isfinite(n) or n % 1), None)
        if wrong is not None:
            raise VolumeError(f"{self.name}: expected whole numbers in {keys[0]}, got {wrong}")
        return [int(n) for n in numbers]

    def yes(self, *keys: str, default: str = "False") -> bool:
        """A flag. Raises VolumeError when it is neither True nor False."""
        text = self.text(*keys, default=default)
        if text.lower() not in FLAGS:
            raise VolumeError(f"{self.name}: expected {keys[0]} = True or False, got {text}")
        return FLAGS[text.lower()]


@dataclass(frozen=True)
class MetaImageVolume:
    """See Volume."""

    path: Path
    grid: Grid
    header: Header
    dtype: np.dtype[np.generic]
    data: Path

    @property
    def suffix(self) -> str:
        """.mha or .mhd"""
        return self.path.suffix.lower()

    def read(self) -> Voxels:
        """See Volume.read."""
        wanted = math.prod(self.grid.shape) * self.dtype.itemsize
        content = self._content(wanted)
        if len(content) != wanted:
            raise VolumeError(
                f"{self.path.name}: expected {wanted} bytes of voxels in {self.data.name}, "
                f"got {len(content)}"
            )
        voxels = np.frombuffer(content, self.dtype).reshape(self.grid.shape, order="F")
        return checked_voxels(self.path.name, voxels)

    def _content(self, wanted: int) -> bytes:
        start = self.header.whole_numbers("HeaderSize", default="0")[0]
        local = self.data == self.path
        with self.data.open("rb") as file:
            if start < 0:  # the voxels are the file's last bytes
                start = max(0, self.data.stat().st_size - wanted)
            file.seek(self.header.size if local else start)
            if not self.header.yes("CompressedData"):
                return file.read(wanted)
            try:
                return zlib.decompressobj().decompress(file.read(), wanted)
            except zlib.error as error:
                raise VolumeError(
                    f"{self.path.name}: expected compressed voxels in {self.data.name} ({error})"
                ) from error

    def write_labels(self, path: Path, labels: UInt8Array) -> None:
        """See Volume.write_labels: the lines that say where voxels are are copied as they stand.

        Beside a .mhd comes a .zraw of the same name.
        """
        content = zlib.compress(labels.tobytes(order="F"))
        data = path if path.suffix == ".mha" else path.with_suffix(".zraw")
        lines = {
            "ObjectType": "Image",
            "NDims": "3",
            "BinaryData": "True",
            "BinaryDataByteOrderMSB": "False",
            "CompressedData": "True",
            "CompressedDataSize": str(len(content)),
            **{key: value for key, value in self.header.fields.items() if key in PLACE},
            "DimSize": " ".join(map(str, self.grid.shape)),
            "ElementType": "MET_UCHAR",
            "ElementDataFile": "LOCAL" if data == path else data.name,
        }
        head = "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()
        if data != path:
            _write(data, content)
        _write(path, head + content if data == path else head)


def open_metaimage(path: Path) -> MetaImageVolume:
    """Read the header. Raises VolumeError: also when the voxels' file is missing or too short."""
    header = _read_header(path)
    _require_plain(header)
    shape = header.whole_numbers("DimSize")
    if header.text("ElementNumberOfChannels", default="1") != "1":
        raise VolumeError(f"{path.name}: expected one number a voxel, got several channels")
    if header.text("NDims", default=str(len(shape))) != str(len(shape)):
        raise VolumeError(f"{path.name}: expected DimSize of NDims numbers, got {len(shape)}")
    grid = checked_grid(path.name, shape, _affine(header, len(shape)))
    kind = header.text("ElementType")
    if kind not in TYPES:
        raise VolumeError(f"{path.name}: expected ElementType of {', '.join(TYPES)}, got {kind}")
    order = ">" if header.yes("BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<"
    data = _data_file(path, header)
    return MetaImageVolume(path, grid, header, np.dtype(order + TYPES[kind]), data)


def _require_plain(header: Header) -> None:
    """Raises VolumeError for what would change the meaning of the voxels' bytes."""
    if header.text("ObjectType", default="Image") != "Image":
        found = header.text("ObjectType")
        raise VolumeError(f"{header.name}: expected ObjectType = Image, got {found}")
    if not header.yes("BinaryData", default="True"):
        raise VolumeError(
            f"{header.name}: expected BinaryData = True, got False: its voxels are text"
        )
    slope = header.numbers("ElementToIntensityFunctionSlope", default="1")
    offset = header.numbers("ElementToIntensityFunctionOffset", default="0")
    if (slope, offset) != ([1.0], [0.0]):
        raise VolumeError(
            f"{header.name}: expected voxels without ElementToIntensityFunction, got {slope[0]:g} "
            f"and {offset[0]:g}"
        )


def _read_header(path: Path) -> Header:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(MAX_HEADER)
            key, equals, value = line.decode("latin-1").partition("=")
            if not line or not equals or file.tell() > MAX_HEADER:
                what = "an empty file" if file.tell() == 0 else "something else"
                raise VolumeError(f"{path.name}: expected a MetaImage header, got {what}")
            fields[key.strip()] = _quotable(value.strip())
        return Header(path.name, fields, file.tell())


def _quotable(value: str) -> str:
    """Cut, where no field that is used here can be so long: it is then refused in a short line."""
    return value if len(value) <= LONGEST_FIELD else f"{value[:40]}..."


def _affine(header: Header, dimensions: int) -> Affine:
    """(4, 4), RAS. A row of the file's matrix is the direction of one axis of the array."""
    identity = " ".join(str(int(n)) for n in np.eye(max(dimensions, 0)).flatten())
    directions = header.numbers(*MATRIX, default=identity)
    spacing = header.numbers("ElementSpacing", "ElementSize", default="1 " * dimensions)
    if not all(0 < side < math.inf for side in spacing):
        raise VolumeError(f"{header.name}: expected ElementSpacing above 0, got {spacing}")
    offset = header.numbers(*OFFSET, default="0 " * dimensions)
    if (len(directions), len(spacing), len(offset)) != (dimensions**2, dimensions, dimensions):
        raise VolumeError(f"{header.name}: expected matrix, spacing and offset of DimSize's length")
    lps = np.eye(4)
    if dimensions >= 3:
        axes = np.reshape(directions, (dimensions, dimensions))[:3, :3]
        lps[:3, :3] = axes.T * spacing[:3]
        lps[:3, 3] = offset[:3]
    return np.asarray(LPS_TO_RAS @ lps, np.float64)


def _data_file(path: Path, header: Header) -> Path:
    named = header.text("ElementDataFile")
    if named.upper() == "LOCAL":
        return path
    relative = Path(named.replace("\\", "/"))
    several = named.upper().startswith("LIST") or "%" in named
    if several or relative.is_absolute() or ".." in relative.parts:
        raise VolumeError(f"{path.name}: expected its voxels in one file beside it, got {named}")
    data = path.parent / relative
    try:
        there = data.is_file()
    except (OSError, ValueError):  # no name that a file can have
        there = False
    if not there:
        raise VolumeError(f"{path.name}: expected its voxels in {named} beside it, found no file")
    return data


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)

"""Does a file end before its container says? Looks at the sizes of its outermost boxes only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

PACKETS = (188, 192, 204)  # bytes of a transport stream's packet, without and with extras
SYNC = 0x47
UNKNOWN = (1 << 56) - 1  # EBML's "until the end"
MOST_BOXES = 1_000_000
PACK = b"\0\0\1\xba"
TAIL = 1 << 18  # bytes at the end of a program stream, in which its last pack begins


def is_cut_short(path: Path, container: str) -> bool:
    """container: FFmpeg's name of it. False also where a container does not say how long it is."""
    ends = next((end for name, end in ENDS.items() if name in container.split(",")), None)
    size = path.stat().st_size
    if ends is None or size == 0:
        return False
    with path.open("rb") as file:
        return ends(file, size) > size


def _boxes(file: BinaryIO, size: int) -> int:
    """ISO base media (mp4, mov): the end of its last box."""
    at = 0
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return at + 8 if head else at  # a few bytes are the begin of a box
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0: until the end; other numbers are no box
            return at
        at += length
        if at >= size:
            break
    return at


def _chunks(file: BinaryIO, size: int) -> int:
    """RIFF (avi), also of several parts: the end of its last one."""
    at = end = 0
    for _ in range(MOST_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            return end
        length = int.from_bytes(head[4:], "little")
        end = at + 8 + length
        at = end + length % 2  # the byte of padding need not be there
        if at >= size:
            break
    return end


def _elements(file: BinaryIO, size: int) -> int:
    """EBML (mkv, webm): the end of its last element; none of one that is written as it comes."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(12)
        id_length = _vint_length(head[:1])
        length = _vint_length(head[id_length : id_length + 1])
        number = head[id_length : id_length + length]
        if not id_length or not length or len(number) < length:
            return at
        content = int.from_bytes(number, "big") & ((1 << 7 * length) - 1)
        if content == (1 << 7 * length) - 1:
            return at
        at += id_length + length + content
    return at


def _vint_length(first: bytes) -> int:
    """Bytes of an EBML number by its first byte; 0 of none."""
    return 9 - first[0].bit_length() if first and first[0] else 0


def _packets(file: BinaryIO, size: int) -> int:
    """Transport streams: packets of one size up to the end."""
    head = file.read(5 * max(PACKETS))
    for length in PACKETS:
        start = 4 if length == 192 else 0
        if head[start : 4 * length : length] and all(b == SYNC for b in head[start::length]):
            return -(-size // length) * length
    return size


def _program(file: BinaryIO, size: int) -> int:
    """Program streams (vob, mpg): the end of the last packet of the last pack."""
    start = max(0, size - TAIL)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(PACK)
    if at < 0:
        return size
    at += 14 + (tail[at + 13] & 7) if len(tail) > at + 13 and tail[at + 4] & 0xC0 == 0x40 else 12
    while tail[at : at + 3] == PACK[:3] and len(tail) >= at + 6:
        at += 4 if tail[at + 3] == 0xB9 else 6 + int.from_bytes(tail[at + 4 : at + 6], "big")
    rest = tail[at:]
    begins_another = 0 < len(rest) < 6 and PACK.startswith(rest[:3])
    return start + at + (6 if begins_another else 0)


ENDS: dict[str, Callable[[BinaryIO, int], int]] = {
    "mp4": _boxes,
    "mov": _boxes,
    "avi": _chunks,
    "matroska": _elements,
    "mpegts": _packets,
    "mpeg": _program,
}

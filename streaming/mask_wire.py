"""The mask message: version 1, at most 16 KiB, for one frame and no other.

docs/mask-message.md describes it for those who read it in another language.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import cv2
import numpy as np

from streaming.errors import StreamingError
from streaming.frame import UInt8Array

MAGIC, VERSION = b"TM", 1
LARGEST = 16 * 1024  # bytes of a message; what every WebRTC stack takes unfragmented
SIDES = (320, 160, 80)  # longer side of the grid: the first at which the message fits; at 80 all do
HEADER = struct.Struct("<2sBBIIHHB")
STAMP_AT = 4  # offset of the RTP timestamp, which differs from viewer to viewer


class MaskMessageError(StreamingError):
    """Bytes are not a mask message of this version."""


@dataclass(frozen=True)
class MaskMessage:
    """A message for every viewer; each gets it with the timestamp he knows the frame by.

    stamp: of the frame's capture, see rtp_stamp
    """

    stamp: int
    index: int
    body: bytes = field(repr=False)

    def stamped(self, rtp_timestamp: int) -> bytes:
        """The message for a viewer who gets this frame with this timestamp, 32 bits."""
        stamp = struct.pack("<I", rtp_timestamp)
        return self.body[:STAMP_AT] + stamp + self.body[STAMP_AT + 4 :]


@dataclass(frozen=True)
class ReadMask:
    """A message taken apart. grid: (H, W) uint8 of class ids, 0 is background"""

    rtp_timestamp: int
    index: int
    class_ids: tuple[int, ...]
    grid: UInt8Array = field(repr=False)


def write_mask(class_map: UInt8Array, stamp: int, index: int) -> MaskMessage:
    """A frame's masks as a message; the busier they are, the coarser its grid.

    class_map: (H, W) uint8 class ids, 0 is background
    """
    for side in SIDES:
        grid = _grid(class_map, side)
        ids = [int(one) for one in np.unique(grid) if one]
        height, width = grid.shape
        head = HEADER.pack(MAGIC, VERSION, 0, 0, index % (1 << 32), width, height, len(ids))
        body = head + bytes(ids) + _runs(grid)
        if len(body) <= LARGEST:
            break
    return MaskMessage(stamp, index, body)


def read_mask(message: bytes) -> ReadMask:
    """Take a message apart. Raises MaskMessageError."""
    if len(message) < HEADER.size or message[:2] != MAGIC or message[2] != VERSION:
        raise MaskMessageError(f"expected a mask message of version {VERSION}")
    _, _, _, stamp, index, width, height, count = HEADER.unpack_from(message)
    at = HEADER.size + count
    values, lengths = [], []
    while at < len(message):
        values.append(message[at])
        length, at = _varint(message, at + 1)
        lengths.append(length)
    if sum(lengths) != width * height:
        raise MaskMessageError(f"expected runs over {width}x{height}, they cover {sum(lengths)}")
    grid = np.repeat(np.array(values, np.uint8), lengths).reshape(height, width)
    return ReadMask(stamp, index, tuple(message[HEADER.size : HEADER.size + count]), grid)


def _grid(class_map: UInt8Array, side: int) -> UInt8Array:
    """Scaled down so that the longer side is at most `side`; never scaled up."""
    height, width = class_map.shape
    scale = side / max(height, width)
    if scale >= 1:
        return class_map
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(class_map, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, dtype=np.uint8)


def _runs(grid: UInt8Array) -> bytes:
    """Runs in row order: a value, then the length as a varint of one to three bytes."""
    flat = grid.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, flat.size))
    parts = np.zeros((starts.size, 4), np.uint8)
    parts[:, 0] = flat[starts]
    parts[:, 1] = lengths & 127
    parts[:, 2] = lengths >> 7 & 127
    parts[:, 3] = lengths >> 14
    parts[:, 1:3] |= (np.stack([lengths > 127, lengths > 16383], 1) << 7).astype(np.uint8)
    used = np.stack([lengths > 0, lengths > 0, lengths > 127, lengths > 16383], 1)
    return parts[used].tobytes()


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where the next thing starts."""
    value = 0
    for shift in (0, 7, 14):
        if at >= len(message):
            break
        octet = message[at]
        value, at = value | (octet & 127) << shift, at + 1
        if octet < 128:
            return value, at
    raise MaskMessageError("expected a run's length, the message ends or goes on too long")

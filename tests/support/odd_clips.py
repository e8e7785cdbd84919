"""Makes recordings as recorders, phones and cutting tools make them, with PyAV alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange

from models.types import UInt8Array
from streaming.frame import Frame
from streaming.video_file import VideoFile

CODECS = {".vob": "mpeg2video", ".avi": "mpeg4"}  # else H.264
FORMATS = {".vob": "vob", ".ts": "mpegts"}
MS = Fraction(1, 1000)


def picture(number: int, size: tuple[int, int]) -> UInt8Array:
    """Grey, with a bright square that walks. (H, W, 3)"""
    height, width = size
    image = np.full((height, width, 3), 60, np.uint8)
    side = height // 4
    left = number * 3 % (width - side)
    image[side : 2 * side, left : left + side] = 230
    return image


@dataclass(frozen=True)
class Clip:
    """What to write. times_ms: of each picture, else 40 ms apart; offset_s: the clock's begin"""

    frames: int = 30
    size: tuple[int, int] = (96, 128)
    times_ms: Sequence[int] | None = None
    offset_s: float = 0.0
    options: dict[str, str] = field(default_factory=dict)  # of the container
    codec: dict[str, str] = field(default_factory=dict)
    matrix: Sequence[int] | None = None  # of display
    draw: Callable[[int, tuple[int, int]], UInt8Array] = picture


def write(path: Path, clip: Clip | None = None) -> Path:
    """A clip in the format that its suffix says."""
    clip = clip or Clip()
    options = {
        **clip.options,
        **({"output_ts_offset": str(clip.offset_s)} if clip.offset_s else {}),
    }
    with av.open(str(path), "w", format=FORMATS.get(path.suffix), options=options) as container:
        codec = CODECS.get(path.suffix, "libx264")
        more = {"g": "10", "bf": "2"} if codec == "libx264" else {"g": "10"}
        stream = container.add_stream(codec, rate=25, options={**more, **clip.codec})
        stream.height, stream.width = clip.size
        stream.pix_fmt = "yuv420p"
        if clip.matrix is not None:
            stream.set_display_matrix(clip.matrix)
        for number in range(clip.frames):
            image = clip.draw(number, clip.size)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            time_ms = clip.times_ms[number] if clip.times_ms else number * 40
            frame.pts, frame.time_base = time_ms, MS
            if clip.times_ms is None:
                frame.pts, frame.time_base = number, Fraction(1, 25)
            else:
                stream.codec_context.time_base = MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def joined(path: Path, *pieces: Path) -> Path:
    """As `cat` joins files."""
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    return path


def remuxed(source: Path, path: Path, cut_s: float = 0.0, **options: str) -> Path:
    """Without encoding again; from cut_s on, the lead-in hidden by an edit list."""
    with av.open(str(source)) as before, av.open(str(path), "w", options=options) as after:
        taken = before.streams.video[0]
        stream = after.add_stream_from_template(taken)
        shift = round(cut_s / taken.time_base)
        key = max(
            e.timestamp for e in taken.index_entries if e.is_keyframe and e.timestamp <= shift
        )
        for packet in before.demux(taken):
            if packet.dts is None or packet.dts < key:
                continue
            packet.stream = stream
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            after.mux(packet)
    return path


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Byte and length of each packet of the video, in the order they are stored."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return [(p.pos, p.size) for p in packets if p.size and p.pos is not None]


def spoilt(path: Path, place: int, length: int, fill: bytes = b"\xff") -> Path:
    """The same file with some bytes overwritten."""
    content = bytearray(path.read_bytes())
    content[place : place + length] = fill * length
    out = path.with_name(f"spoilt-{path.name}")
    out.write_bytes(content)
    return out


def read(path: Path) -> tuple[list[Frame], VideoFile]:
    """All frames, and the file that has been read to its end."""
    video = VideoFile(path)
    try:
        return list(video), video
    finally:
        video.close()


def times_s(frames: Sequence[Frame]) -> list[float]:
    return [round(frame.pts_ns / 1e9, 4) for frame in frames]


def interlaced(number: int, size: tuple[int, int]) -> UInt8Array:
    """Two fields, each of its own moment: a bright bar that walks to the right. (H, W, 3)"""
    height, width = size
    woven = np.full((height, width, 3), 40, np.uint8)
    shade = (np.arange(width) * 3 % 90).astype(np.uint8)
    woven += shade[None, :, None]
    for moment in (0, 1):
        left = (2 * number + moment) * 12 % (width - 60)
        woven[moment::2, left : left + 60] = 220
    return woven


def tagged_colour(
    path: Path, planes: av.VideoFrame, matrix: int | None, color_range: ColorRange | None
) -> Path:
    """One picture, losslessly, with these tags; None says nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = (
            planes.height,
            planes.width,
            planes.format.name,
        )
        if matrix is not None:
            stream.codec_context.colorspace = planes.colorspace = matrix
        if color_range is not None:
            stream.codec_context.color_range = planes.color_range = color_range
        planes.pts, planes.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(planes))
        container.mux(stream.encode())
    return path

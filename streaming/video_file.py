"""A video file as an iterator of frames: every one, in order, as fast as it is read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.video
from av.container import InputContainer

from streaming.clock import SECOND, Clock
from streaming.decoding import Decoding
from streaming.deinterlace import HEIGHTS, Look, Mode
from streaming.errors import SourceError
from streaming.file_end import is_cut_short
from streaming.frame import Frame, UInt8Array
from streaming.frame_rate import frame_rate
from streaming.missing import Missing
from streaming.orientation import Orientation
from streaming.pictures import Pictures, TakenAs
from streaming.pixel_aspect import pixel_aspect

# FFmpeg's names of containers.
INDEXED = {"mp4", "avi"}  # an index lists every picture, and with it how long each stays
JOINED = {"mpegts", "mpeg"}  # made to be cut and joined as bytes
WITH_DURATION = {"mp4", "matroska"}  # they say how long they are
TAIL = 3  # usual intervals, by which the last picture may end sooner than its file says


@dataclass(frozen=True)
class _Moment:
    """When a picture is shown and which way up, which a filter need not keep."""

    pts_ns: int
    orientation: Orientation


class VideoFile:
    """Frames of a file, upright, deinterlaced where they need it, RGB.

    After the iteration `problem` says in one line what of the file is missing, if anything is.
    pixel_aspect: width over height of a pixel, which the frames keep
    look: what was found out about fields; another VideoFile of the same file can be given it
    Raises SourceError on construction: missing, not a video, no video stream, no frame.
    """

    def __init__(self, path: Path, deinterlace: Mode = "auto", look: Look | None = None) -> None:
        self._path = path
        self._container = _open(path)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._rate = frame_rate(self._stream)
        formats = set(self._container.format.name.split(","))
        self._indexed, joined = bool(INDEXED & formats), bool(JOINED & formats)
        self._clock = Clock(may_be_joined=joined, decoding_order="avi" in formats)
        self._missing = Missing(self._indexed)
        self._decoding = Decoding(self._container, self._stream, self._missing)
        self.look = look or _look(path, deinterlace, self._stream.height)
        self._pictures: Pictures[_Moment] = Pictures(deinterlace, self.look)
        self._start_s, self._end_s = 0.0, 0.0
        self.problem: str | None = None
        self._on_its_side = False  # turned by a quarter to be upright
        self._frames = self._read()
        first = self._first_frame()
        self._first: Frame | None = first
        self.size = (first.image_rgb.shape[0], first.image_rgb.shape[1])  # of the first, upright
        aspect = pixel_aspect(self._stream)
        self.pixel_aspect = 1 / aspect if self._on_its_side else aspect

    @property
    def fps(self) -> Fraction:
        """Average frame rate as the file states it, 25 if it does not."""
        return self._rate

    @property
    def frame_count(self) -> int | None:
        """Frames the file claims to have, None if it does not say."""
        if self._stream.frames:
            return int(self._stream.frames)
        if self._container.duration:
            return round(self._container.duration / av.time_base * float(self.fps))
        return None

    def name_of(self, index: int) -> str | None:
        """The file that a frame is: none."""
        return None

    def taken_as(self) -> TakenAs:
        """How the pictures so far were understood."""
        return self._pictures.taken_as()

    def __iter__(self) -> Iterator[Frame]:
        """Frames from the first on; one pass."""
        first, self._first = self._first, None
        if first is None:
            return
        yield first
        yield from self._frames
        self.problem = self._told()

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._container.close()

    def _first_frame(self) -> Frame:
        try:
            return next(self._frames)
        except StopIteration:
            told = self._told()
            self._container.close()
            detail = f" ({told.removeprefix(f'{self._path.name}: ')})" if told else ""
            raise SourceError(
                f"{self._path.name}: expected frames, the video has none{detail}"
            ) from None

    def _read(self) -> Iterator[Frame]:
        for index, (stored, moment) in enumerate(self._whole()):
            if index == 0:
                self._on_its_side = moment.orientation.swapped
            image = moment.orientation.upright(stored)
            yield Frame(image, index, moment.pts_ns, time.monotonic_ns())

    def _whole(self) -> Iterator[tuple[UInt8Array, _Moment]]:
        last_ns, stays_ns = -1, 0
        for picture in self._decoding:
            now_ns = self._clock.at(_ns(picture, picture.pts), _ns(picture, picture.dts), stays_ns)
            if last_ns < 0:
                self._start_s = max(0, _ns(picture, picture.pts) or 0) / SECOND
            else:
                self._missing.picture(last_ns, now_ns, stays_ns)
            last_ns, stays_ns = now_ns, self._stays_ns(picture)
            self._end_s = (now_ns + stays_ns) / SECOND
            yield from self._pictures.pass_on(picture, _Moment(now_ns, Orientation.of(picture)))
        yield from self._pictures.rest()

    def _stays_ns(self, picture: av.VideoFrame) -> int:
        """How long a picture stays, as stated, else the usual interval."""
        return _ns(picture, picture.duration) or int(SECOND / self._rate)

    def _told(self) -> str | None:
        """What is missing, in one line; a file that is cut often just ends."""
        if self._indexed:
            self._missing.lost = max(self._missing.lost, self._listed() - self._decoding.decoded)
        found = self._missing.told()
        if self._decoding.broken:
            found.append(f"unreadable after {self._end_s:.2f} s ({self._decoding.broken})")
        if is_cut_short(self._path, self._container.format.name):
            found.append(f"the file is cut short: it ends at {self._end_s:.2f} s")
        if not found:
            found += self._promised_more()
        return f"{self._path.name}: {', '.join(found)}" if found else None

    def _listed(self) -> int:
        """Pictures that the index lists and that are to be shown; empty chunks are none."""
        return sum(entry.size > 0 for entry in self._stream.index_entries) - self._decoding.hidden

    def _promised_more(self) -> list[str]:
        """Compare with the duration in the header."""
        seconds, read_s = self._promised_s(), self._start_s + self._end_s
        if seconds is not None and read_s + TAIL / self._rate < seconds:
            return [f"the file promises {seconds:.1f} s, {read_s:.1f} s could be read"]
        return []

    def _promised_s(self) -> float | None:
        """Of the video alone, in containers whose header is not a guess."""
        container, stream = self._container, self._stream
        if stream.frames or not WITH_DURATION & set(container.format.name.split(",")):
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        tagged = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", stream.metadata.get("DURATION", ""))
        if tagged:  # of a Matroska stream that has others beside it
            return int(tagged[1]) * 3600 + int(tagged[2]) * 60 + float(tagged[3])
        if container.duration and len(container.streams) == 1:
            return float(container.duration / av.time_base)
        return None


def _open(path: Path) -> InputContainer:
    """Raises SourceError: no file, not a video, no video stream."""
    if not path.is_file():
        raise SourceError(f"expected a video file, found no file {path}")
    try:
        # A colon in its name is no protocol, and its title need not be UTF-8.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SourceError(f"{path.name}: expected a video, cannot read it ({reason})") from error
    streams = container.streams.video
    what = "a video stream, found none" if not streams else "a video whose codec is known"
    if not streams or streams[0].codec_context is None:
        container.close()
        raise SourceError(f"{path.name}: expected {what}")
    return container


def _look(path: Path, deinterlace: Mode, height: int) -> Look:
    """Are the first pictures interlaced without saying so? Read once more, before the first."""
    look = Look()
    if deinterlace == "off" or height not in HEIGHTS:
        return look
    container = _open(path)
    try:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for picture in Decoding(container, stream, Missing(indexed=False)):
            look.at(picture)
            if look.over or picture.interlaced_frame:
                break
    finally:
        container.close()
    look.decide()
    return look


def _ns(picture: av.VideoFrame, units: int | None) -> int | None:
    """Units of a picture's clock as nanoseconds."""
    if units is None or not picture.time_base:
        return None
    return int(units * picture.time_base * SECOND)

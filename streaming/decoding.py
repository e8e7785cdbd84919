"""Packets of a file, decoded: what cannot be read is counted and passed over, never the end."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streaming.missing import Missing

TIMED = {"mp4", "matroska"}  # containers in which a packet is a picture, at the packet's time
MOST_WAITING = 512  # packets whose pictures are still to come; no decoder holds so many


class Decoding:
    """Pictures of one stream, in the order they are shown.

    A packet whose picture never comes is told of too: its time is passed by a later picture.
    decoded: pictures so far; hidden: packets that hold none to be shown (a cut's lead-in)
    broken: why reading ended before the file did, if it did
    """

    def __init__(self, container: InputContainer, stream: VideoStream, missing: Missing) -> None:
        formats = set(container.format.name.split(","))
        self._container, self._stream, self._missing = container, stream, missing
        self._key_pts: int | None = None
        self._waiting: set[int] = set()
        self._one_to_one = bool(TIMED & formats)
        self.decoded, self.hidden = 0, 0
        self.broken: str | None = None
        self._last_is_cut = False

    def __iter__(self) -> Iterator[av.VideoFrame]:
        """One pass."""
        try:
            for packet in self._container.demux(self._stream):
                self._note(packet)
                yield from self._decode(packet)
        except av.error.FFmpegError as error:
            self.broken = error.strerror or type(error).__name__
        self._missing.lost += len(self._waiting) if self._one_to_one else 0
        self._missing.unreadable += self._last_is_cut

    def _decode(self, packet: Packet[VideoStream]) -> Iterator[av.VideoFrame]:
        try:
            pictures = packet.decode()
        except av.error.FFmpegError:
            self._missing.unreadable += 1
            return
        for picture in pictures:
            assert isinstance(picture, av.VideoFrame)
            self._match(picture)
            self.decoded += 1
            self._missing.damaged += picture.is_corrupt
            yield picture

    def _note(self, packet: Packet[VideoStream]) -> None:
        if packet.size:
            self._missing.suspect += packet.is_corrupt
            self._last_is_cut = packet.is_corrupt
        if self._key_pts is None and packet.is_keyframe:
            self._key_pts = packet.pts
        leads_in = (  # builds on what was before the cut: decoders leave it out
            not self.decoded
            and packet.pts is not None
            and (self._key_pts is None or packet.pts < self._key_pts)
        )
        hidden = packet.is_discard or leads_in
        self.hidden += hidden
        if packet.size and packet.pts is not None and not hidden:
            self._waiting.add(packet.pts)

    def _match(self, picture: av.VideoFrame) -> None:
        """Which packet is it of, and which were passed?"""
        pts = picture.pts
        if picture.interlaced_frame or pts is None or pts not in self._waiting:
            self._one_to_one = False  # two fields may be two packets
        if not self._one_to_one or pts is None or len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            return
        self._waiting.remove(pts)
        passed = {before for before in self._waiting if before < pts}
        self._waiting -= passed
        self._missing.lost += len(passed)

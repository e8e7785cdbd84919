"""Receives video without waiting: a frame is released by the marker bit of its last packet.

aiortc 1.16 releases a frame when the first packet of the next one comes, a frame interval later,
queues without bound what the decoder has not done yet, decodes on after a gap as if nothing were
missing, so that a part of a picture may be older than the rest, and asks once for a keyframe: if
the wish is lost or the keyframe is broken too, the picture may stay broken for good. All are places
that it does not document; tests hold what is put there against real streams.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from typing import Any

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtp import RtpPacket

CAPACITY = 512  # packets, as aiortc's own
HELD = 8  # frames that wait for a lost packet
ASK_AGAIN_S = 0.5  # for a keyframe
WITHHELD_S = 2.0  # what a gap has broken is not decoded, until a keyframe comes or this has passed
IDR = 5  # H.264's unit of a picture from which decoding can begin
DECODER_BEHIND = 30  # encoded frames; past it the decoder starts again from the newest


class MarkedFrame(JitterFrame):
    """A frame, and those behind it that were complete already when a lost packet came after all."""

    def __init__(self, packets: list[RtpPacket]) -> None:
        data = b"".join(packet._data for packet in packets)  # type: ignore[attr-defined]
        super().__init__(data, packets[0].timestamp)
        self.behind: list[MarkedFrame] = []


class MarkerJitterBuffer(JitterBuffer):
    """Releases a frame with its last packet. Without marker bits it does what aiortc's does.

    A packet that does not come even when it was asked for again holds up HELD frames at most; then
    its frame is given up and a keyframe asked for. aiortc's waits for 512 packets, or two seconds.
    Whenever one is asked for, it is asked for once more ASK_AGAIN_S later.
    """

    def __init__(self) -> None:
        super().__init__(capacity=CAPACITY, is_video=True)
        self._held = 0
        self._again_at: float | None = None
        self.given_up = 0
        self.broken_at: float | None = None  # since when pictures miss what they build on

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet; returns whether a keyframe is needed, and a frame if one is complete."""
        keyframe, frame = self._add(packet)
        if keyframe:
            self.broken()
        elif self._again_at is not None and time.monotonic() >= self._again_at:
            self._again_at, keyframe = None, True
        return keyframe, frame

    def broken(self) -> None:
        """Frames are lost, or the decoder failed: a keyframe is asked for, and once more later."""
        now = time.monotonic()
        self.broken_at = now if self.broken_at is None else self.broken_at
        self._again_at = now + ASK_AGAIN_S

    def _add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        keyframe, frame = super().add(packet)
        if frame is not None:
            self._held = 0
        elif packet.marker:
            self._held += 1
            if self._held > HELD:
                self._skip_gap()
                return True, self._remove_frame(packet.sequence_number)
        return keyframe, frame

    def _skip_gap(self) -> None:
        """Give up what is before the first gap, and the frame that has it."""
        assert self._origin is not None
        self._held, self.given_up, gap = 0, self.given_up + 1, False
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is not None and gap:
                self.smart_remove(count + 1)
                return
            gap = gap or packet is None

    def _remove_frame(self, sequence_number: int) -> MarkedFrame | None:
        first = frame = self._remove_one()
        while first is not None and frame is not None:
            frame = self._remove_one()
            if frame is not None:
                first.behind.append(frame)
        return first

    def _remove_one(self) -> MarkedFrame | None:
        """The oldest frame, if every packet of it is there."""
        packets: list[RtpPacket] = []
        assert self._origin is not None
        for count in range(self.capacity):
            packet = self._packets[(self._origin + count) % self.capacity]
            if packet is None:
                return None
            begins_next = bool(packets) and packet.timestamp != packets[0].timestamp
            if not begins_next:
                packets.append(packet)
            if begins_next or packet.marker:
                self.remove(len(packets))
                return MarkedFrame(packets)
        return None


class DecoderFailed(threading.Event):
    """Set by aiortc's decoder thread; cleared as a keyframe is asked for because of it."""

    def __init__(self, buffer: MarkerJitterBuffer) -> None:
        super().__init__()
        self._buffer = buffer

    def clear(self) -> None:
        """See above."""
        super().clear()
        self._buffer.broken()


class DecoderQueue(queue.Queue[Any]):
    """Frames for aiortc's decoder thread: unpacked, whole, and never more than DECODER_BEHIND."""

    def __init__(self, buffer: MarkerJitterBuffer) -> None:
        super().__init__()
        self._buffer = buffer
        self.dropped, self.withheld = 0, 0

    @property
    def lost(self) -> int:
        """Frames that did not come whole, or that the decoder was not given."""
        return self.dropped + self.withheld + self._buffer.given_up

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """None ends the decoder; else a pair of the codec and a frame."""
        if item is None:
            super().put(item, block, timeout)
            return
        if self.qsize() >= DECODER_BEHIND:
            self._drop_all()
            self._buffer.broken()
        codec, first = item
        for frame in (first, *getattr(first, "behind", ())):
            if self._whole(codec, frame.data):
                super().put((codec, frame), block, timeout)
            else:
                self.withheld += 1

    def _whole(self, codec: Any, data: bytes) -> bool:
        """Is there all that a frame builds on, or has nobody sent it for too long?"""
        since = self._buffer.broken_at
        if since is None:
            return True
        if not is_keyframe(codec, data) and time.monotonic() < since + WITHHELD_S:
            return False
        self._buffer.broken_at = None
        return True

    def _drop_all(self) -> None:
        while True:
            try:
                self.get_nowait()
            except queue.Empty:
                return
            self.dropped += 1


def is_keyframe(codec: Any, data: bytes) -> bool:
    """Does a frame build on no other? Of VP8 (RFC 6386, 9.1) and H.264 (annex B); others: yes."""
    kind = getattr(codec, "mimeType", "").lower()
    if kind == "video/vp8":
        return bool(data) and not data[0] & 1
    if kind == "video/h264":
        units = (data[at.end()] & 31 for at in re.finditer(b"\0\0\1(?=.)", data, re.DOTALL))
        return any(unit == IDR for unit in units)
    return True


def release_on_marker(receiver: RTCRtpReceiver) -> DecoderQueue:
    """Let a video receiver do all that this file is for; before it has started."""
    buffer = MarkerJitterBuffer()
    waiting = DecoderQueue(buffer)
    setattr(receiver, "_RTCRtpReceiver__jitter_buffer", buffer)  # noqa: B010
    setattr(receiver, "_RTCRtpReceiver__decoder_error", DecoderFailed(buffer))  # noqa: B010
    setattr(receiver, "_RTCRtpReceiver__decoder_queue", waiting)  # noqa: B010
    return waiting

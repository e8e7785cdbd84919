"""A publisher's WebRTC stream as a live source: a browser's camera, or any WHIP client.

The connections live on the event loop, the frames are read in the pump's thread; between them is
a place for one frame, the newest.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from streaming.deinterlace import Mode
from streaming.frame import Frame
from streaming.negotiation import (
    CONNECT_S,
    OfferError,
    SdpAnswer,
    new_connection,
    read_offer,
    refusing,
    when_gone,
)
from streaming.pictures import Pictures, TakenAs
from streaming.receiving import DecoderQueue, release_on_marker

ASKED_AT_ONCE = 2  # the one that publishes and one that wants to take over


class InboundStream:
    """What is published into one session. The newest publisher who sends pictures is the source.

    `answer`, `hang_up` and `close` belong to the event loop; `open` may be called anywhere.
    """

    def __init__(self, *, connect_s: float = CONNECT_S, deinterlace: Mode = "auto") -> None:
        self._connect_s, self._deinterlace = connect_s, deinterlace
        self._connections: dict[str, RTCPeerConnection] = {}
        self._publisher: str | None = None
        self._drains: dict[str, asyncio.Task[Any]] = {}
        self._decoders: dict[str, DecoderQueue] = {}
        self._lost = 0  # of publishers who have left
        self._tasks: set[asyncio.Task[Any]] = set()
        self._newest = _Newest()

    def open(self) -> InboundFrames:
        """The stream as a source; it waits for a publisher, and ends when he leaves."""
        return InboundFrames(self._newest, self._deinterlace)

    @property
    def replaced(self) -> int:
        """Frames that a newer one replaced before they were read."""
        return self._newest.replaced

    @property
    def lost(self) -> int:
        """Frames that were lost on the way, and those that build on them."""
        return self._lost + sum(one.lost for one in self._decoders.values())

    async def answer(self, sdp: str) -> SdpAnswer:
        """Answer an offer that sends video. Raises OfferError.

        A publisher who is there stays until the new one's first picture has come.
        """
        offer, connection, key = read_offer(sdp), new_connection(), uuid.uuid4().hex
        waiting = [one for one in self._connections if one != self._publisher]
        for old in waiting[: len(self._connections) - ASKED_AT_ONCE + 1]:
            await self.hang_up(old)
        self._connections[key] = connection
        try:
            with refusing():
                return SdpAnswer(await self._negotiate(key, connection, offer), key)
        except BaseException:
            await self.hang_up(key)
            raise

    async def hang_up(self, key: str) -> bool:
        """End a connection; False where there is none of that id."""
        connection = self._connections.pop(key, None)
        if self._publisher == key:
            self._publisher = None
            self._newest.end()
        decoder = self._decoders.pop(key, None)
        self._lost += 0 if decoder is None else decoder.lost
        drain = self._drains.pop(key, None)
        if drain is not None and drain is not asyncio.current_task():
            drain.cancel()  # the track of a connection that never was does not end
        if connection is not None:
            await connection.close()
        return connection is not None

    async def close(self) -> None:
        """Close every connection; may be called twice."""
        await asyncio.gather(*(self.hang_up(key) for key in list(self._connections)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _negotiate(
        self, key: str, connection: RTCPeerConnection, offer: RTCSessionDescription
    ) -> str:
        videos: list[MediaStreamTrack] = []

        @connection.on("track")
        def came(track: MediaStreamTrack) -> None:
            if track.kind == "video":
                videos.append(track)

        await connection.setRemoteDescription(offer)
        if not videos:
            raise OfferError("expected an offer to send video, it sends none")
        for one in connection.getTransceivers():
            if one.receiver.track is videos[0]:
                one.direction = "recvonly"
                self._decoders[key] = release_on_marker(one.receiver)
            else:
                one.direction = "inactive"  # what nobody reads would pile up
        self._drains[key] = self._own(self._drain(key, videos[0]))
        when_gone(connection, self._connect_s, lambda: self._own(self.hang_up(key)))
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    async def _drain(self, key: str, track: MediaStreamTrack) -> None:
        """Keep the newest frame; aiortc's own queue has no bound."""
        try:
            while True:
                picture = await track.recv()
                if self._publisher != key:
                    await self._take_over(key)
                self._newest.put(picture)
        except MediaStreamError:
            await self.hang_up(key)

    async def _take_over(self, key: str) -> None:
        before, self._publisher = self._publisher, key
        if before is not None:
            self._newest.end()
            await self.hang_up(before)

    def _own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class InboundFrames:
    """The source that one InboundStream gives; read in a thread of its own."""

    fps = Fraction(25)  # until frames have come nobody knows
    size = (0, 0)
    finite = False

    def __init__(self, newest: _Newest, deinterlace: Mode = "auto") -> None:
        self._newest = newest
        self._whole: Pictures[int] = Pictures(deinterlace)
        self._closed = threading.Event()

    def taken_as(self) -> TakenAs:
        """How the pictures so far were understood."""
        return self._whole.taken_as()

    def __iter__(self) -> Iterator[Frame]:
        """Frames of one publisher, until he leaves or the source is closed."""
        index, first_ns = 0, None
        while (item := self._newest.get(self._closed)) is not None:
            first_ns = item[1] if first_ns is None else first_ns
            for image, captured_ns in self._whole.pass_on(*item):
                yield Frame(image, index, captured_ns - first_ns, captured_ns)
                index += 1

    def close(self) -> None:
        """Interrupt the iteration; may be called twice."""
        self._closed.set()
        self._newest.wake()


class _Newest:
    """One decoded picture, or the news that there will be no more of them; for two threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: tuple[av.VideoFrame, int] | None = None
        self._ended = False
        self.replaced = 0

    def put(self, picture: Any) -> None:
        """Stamp and keep a picture that has just been decoded."""
        with self._changed:
            self.replaced += self._item is not None
            self._item = picture, time.monotonic_ns()
            self._changed.notify_all()

    def end(self) -> None:
        """The publisher left; whoever reads is told so once."""
        with self._changed:
            self._item, self._ended = None, True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let a reader look whether it was closed."""
        with self._changed:
            self._changed.notify_all()

    def get(self, closed: threading.Event) -> tuple[av.VideoFrame, int] | None:
        """The newest picture and when it came; None at the end, or once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item or self._ended or closed.is_set())
            if self._ended or closed.is_set():
                self._ended = False
                return None
            item, self._item = self._item, None
            return item

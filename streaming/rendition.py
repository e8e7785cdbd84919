"""A rendition of a session: each picture encoded once, its packets handed to every viewer.

A dropped packet breaks every picture after it until a keyframe, so a viewer that lost one gets
nothing more until the keyframe that it asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from streaming.encoding import Encoded, Vp8Encoder, i420_planes, rtp_stamp
from streaming.frame import UInt8Array
from streaming.slot import LatestSlot, SlotClosedError

log = logging.getLogger(__name__)

WAITING = 4  # encoded pictures that wait for one viewer; a hiccup of the loop is no loss
KEYFRAME_EVERY_S = 0.3  # viewers that lose packets all the time must not cost the others the rate


@dataclass(frozen=True)
class Picture:
    """A picture to be shown.

    draw: makes the picture, (H, W, 3) uint8 RGB; called in the rendition's thread, if anybody
    watches. captured_ns, index: of the frame it shows
    """

    draw: Callable[[], UInt8Array] = field(repr=False)
    captured_ns: int
    index: int


class Watcher:
    """One viewer's place in a rendition. Used on the event loop alone."""

    def __init__(self, ask_keyframe: Callable[[], None]) -> None:
        self._ask_keyframe = ask_keyframe
        self._waiting: deque[Encoded] = deque()
        self._ready = asyncio.Event()
        self._broken = True  # nothing can be decoded before a first keyframe
        self._closed = False
        self.dropped = 0

    async def get(self) -> Encoded:
        """The next picture in order. Raises SlotClosedError."""
        if self._broken and not self._waiting:
            self._ask_keyframe()
        while not self._waiting:
            if self._closed:
                raise SlotClosedError
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()

    def put(self, coded: Encoded) -> None:
        """Offer a picture; one that could not be decoded is dropped and counted."""
        if coded.keyframe:
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._broken = False
        elif len(self._waiting) >= WAITING:
            self.dropped += len(self._waiting)
            self._waiting.clear()
            self._broken = True
        if self._broken:
            self.dropped += 1
            return
        self._waiting.append(coded)
        self._ready.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._ready.set()


@dataclass(frozen=True)
class RenditionStatus:
    """Viewers now; pictures encoded since the session was opened, keyframes among them."""

    viewers: int
    encoded: int
    keyframes: int


class Rendition:
    """Encodes pictures, newest first, while somebody watches.

    sent: called on the loop with each picture that went to the viewers
    """

    def __init__(self, name: str, sent: Callable[[Picture], None]) -> None:
        self._encoder = Vp8Encoder()
        self._sent = sent
        self._pictures: LatestSlot[Picture] = LatestSlot()
        self._watchers: list[Watcher] = []
        self._keyframe_wanted = False
        self._keyframe_at = 0.0
        self._last_stamp = -1
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"encode-{name}")
        self.name = name
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self.work_ms: deque[float] = deque(maxlen=250)  # drawing and encoding, a picture each
        self.encoded = 0
        self.keyframes = 0
        self.failed = 0

    @property
    def watched(self) -> bool:
        """Does anybody look?"""
        return bool(self._watchers)

    @property
    def replaced(self) -> int:
        """Shots that a newer one replaced before they could be encoded."""
        return self._pictures.replaced

    def show(self, picture: Picture) -> None:
        """Offer the newest picture; where nobody watches, that is all there is to do."""
        if self._watchers:
            self._pictures.put(picture)
        else:
            self._sent(picture)

    def watch(self) -> Watcher:
        """A place for a viewer, who is asked to `leave`."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"rendition-{self.name}")
        watcher = Watcher(self.ask_keyframe)
        self._watchers.append(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a viewer; may be called twice."""
        watcher.close()
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def ask_keyframe(self) -> None:
        """The next picture, or one soon after it, becomes a keyframe: one for all who ask."""
        self._keyframe_wanted = True

    def status(self) -> RenditionStatus:
        """Who watches, and what was encoded so far."""
        return RenditionStatus(len(self._watchers), self.encoded, self.keyframes)

    async def close(self) -> None:
        """Close every viewer's place and stop; may be called twice."""
        self._pictures.close()
        for watcher in list(self._watchers):
            self.leave(watcher)
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    async def _run(self) -> None:
        while True:
            try:
                picture = await self._pictures.get()
            except SlotClosedError:
                return
            try:
                await self._encode(picture)
                self._failing = False
            except Exception:  # one picture that cannot be shown must not end the stream
                self._note_failure()

    async def _encode(self, picture: Picture) -> None:
        stamp = rtp_stamp(picture.captured_ns)
        if stamp <= self._last_stamp:
            raise ValueError("a frame is not newer than the one before it")
        now = time.monotonic()
        key = self._keyframe_wanted and now - self._keyframe_at >= KEYFRAME_EVERY_S
        coded = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._draw_and_encode, picture, stamp, key
        )
        self._last_stamp = stamp
        self.encoded += 1
        if coded.keyframe:
            self.keyframes += 1
            self._keyframe_wanted, self._keyframe_at = False, now
        for watcher in self._watchers:
            watcher.put(coded)
        self._sent(picture)

    def _note_failure(self) -> None:
        self.failed += 1
        self._keyframe_wanted = True  # what the encoder remembers may be of no use
        if not self._failing:
            log.exception("a picture could not be shown")
        self._failing = True

    def _draw_and_encode(self, picture: Picture, stamp: int, key: bool) -> Encoded:
        started = time.perf_counter()
        planes = i420_planes(picture.draw())
        coded = self._encoder.encode(planes, stamp, picture.index, keyframe=key)
        self.work_ms.append((time.perf_counter() - started) * 1e3)
        return coded

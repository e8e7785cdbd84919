"""Newest first: a slot of depth one."""

from __future__ import annotations

import asyncio
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class SlotClosedError(Exception):
    """The slot was closed; nothing will come any more."""


class LatestSlot(Generic[T]):
    """Holds the newest item only. An item that nobody took is replaced and counted, never queued.

    `put` and `close` may be called from any thread; `get` belongs to one event loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: T | None = None
        self._closed = False
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.replaced = 0

    def put(self, item: T) -> None:
        """Offer the newest item; ignored after close."""
        with self._lock:
            if self._closed:
                return
            if self._item is not None:
                self.replaced += 1
            self._item = item
        self._wake()

    async def get(self) -> T:
        """Take the newest item, waiting for one. Raises SlotClosedError."""
        self._loop = asyncio.get_running_loop()
        while True:
            with self._lock:
                item, self._item = self._item, None
                closed = self._closed
                self._ready.clear()
            if item is not None:
                return item
            if closed:
                raise SlotClosedError
            await self._ready.wait()

    def take(self) -> T | None:
        """The newest item if there is one, without waiting."""
        with self._lock:
            item, self._item = self._item, None
        return item

    def close(self) -> None:
        """Wake whoever waits; may be called twice."""
        with self._lock:
            self._closed = True
        self._wake()

    def _wake(self) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._loop = None

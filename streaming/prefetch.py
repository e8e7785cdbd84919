"""Reads a source ahead in a thread, by a bounded number of frames and losing none."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

AHEAD = 4


class Prefetch(Generic[Item]):
    """Iterate a source while its next items are being made; errors arrive in order."""

    def __init__(self, source: Iterable[Item], ahead: int = AHEAD) -> None:
        self._queue: queue.Queue[Item | BaseException | None] = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._source = source
        self._thread = threading.Thread(target=self._read, name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """Items in the source's order."""
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop reading and wait for the thread; may be called twice."""
        self._stop.set()
        self._thread.join(timeout=10)

    def _read(self) -> None:
        last: BaseException | None = None
        try:
            for frame in self._source:
                if not self._offer(frame):
                    return
        except Exception as error:  # handed to the consumer, which raises it
            last = error
        self._offer(last)

    def _offer(self, item: Item | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

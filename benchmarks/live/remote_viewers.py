"""Viewers in a process of their own, who note when they had each picture decoded."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing as mp
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
from av import VideoFrame

from benchmarks.live.viewer import AskAnswer, ViewerConfig, watching
from models.types import UInt8Array
from streaming.mark import CELL, COLUMNS, ROWS, WRAP, read_mark

STOP = "stop"
HANG_UP_S = 10.0


@dataclass
class Seen:
    """What one viewer had on his screen: (number in the picture, monotonic ns), in order."""

    pictures: list[tuple[int, int]] = field(default_factory=list)
    unreadable: int = 0

    def note(self, frame: VideoFrame) -> None:
        """Read the number; the time is when the pixels were there, not when they were read."""
        decoded_ns = time.monotonic_ns()
        number = read_mark(_corner(frame))
        if number is None:
            self.unreadable += 1
        else:
            self.pictures.append((number, decoded_ns))

    def frames(self, captured_ns: Mapping[int, int]) -> list[tuple[int, int]]:
        """The same with each frame's index, also where the numbers in the pictures have wrapped.

        captured_ns: by index, of every frame. A picture is the newest frame of its number that
        there was when it was decoded.
        """
        last = max(captured_ns)
        found: list[tuple[int, int]] = []
        for number, decoded_ns in self.pictures:
            index = last - (last - number) % WRAP
            while index >= WRAP and captured_ns.get(index, decoded_ns) >= decoded_ns:
                index -= WRAP
            found.append((index, decoded_ns))
        return found


class RemoteViewers:
    """Some viewers in another process; started by `remote_viewers`."""

    def __init__(self, pid: int, pipe: Connection) -> None:
        self.pid, self._pipe = pid, pipe
        self._finished = False

    async def leave(self) -> None:
        """Hang up, if that was not done: a killed viewer would keep his place for half a minute."""
        if not self._finished:
            await self.finish()

    def stall(self) -> None:
        """Stop the process where it is; it takes nothing more."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.pid, signal.SIGCONT)

    async def finish(self) -> list[Seen]:
        """Hang up; what each of them saw. May be called once."""
        self._finished = True
        self._pipe.send(STOP)
        seen: list[Seen] = await asyncio.to_thread(self._pipe.recv)
        return seen


@contextlib.asynccontextmanager
async def remote_viewers(
    ask: AskAnswer, count: int = 1, config: ViewerConfig | None = None
) -> AsyncIterator[RemoteViewers]:
    """So many viewers, connected. ask: answers their offers, in this process"""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, count, config), daemon=True)
    process.start()
    theirs.close()
    try:
        for _ in range(count):
            ours.send(await ask(await asyncio.to_thread(ours.recv)))
        assert process.pid is not None
        viewers = RemoteViewers(process.pid, ours)
        yield viewers
        await viewers.leave()
        await asyncio.to_thread(process.join, HANG_UP_S)
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
        ours.close()


def _run(pipe: Connection, count: int, config: ViewerConfig | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    asyncio.run(_watch(pipe, count, config))


async def _watch(pipe: Connection, count: int, config: ViewerConfig | None) -> None:
    seen = [Seen() for _ in range(count)]

    async def ask(sdp: str) -> str:
        pipe.send(sdp)
        answer: str = await asyncio.to_thread(pipe.recv)
        return answer

    async with contextlib.AsyncExitStack() as stack:
        for one in seen:
            await stack.enter_async_context(watching(ask, one.note, config=config))
        await asyncio.to_thread(pipe.recv)
        pipe.send(seen)


def _corner(frame: VideoFrame) -> UInt8Array:
    """Brightness of the corner with the mark, without converting the whole picture. (H, W, 1)"""
    plane = frame.planes[0]
    rows: npt.NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(
        -1, plane.line_size
    )
    corner = rows[frame.height - ROWS * CELL : frame.height, : COLUMNS * CELL]
    return np.ascontiguousarray(corner)[..., None]

"""Keeps a session's model answering: started again when it is gone, frozen as it was told to be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from models.types import Click, Segmentation, UInt8Array
from service.model.process import ModelFailedError, ModelProcess

log = logging.getLogger(__name__)

RESTART_S = (0.5, 5.0)  # first and longest pause between starts that bring no step


class Supervisor:
    """Owns the model's process. frozen: the learner is, from the start on"""

    def __init__(self, process: ModelProcess, *, frozen: bool) -> None:
        self.process, self.frozen = process, frozen
        self.up = False  # it answers
        self.failures = 0
        self._failing = False  # no step has succeeded since one failed
        self._restart: asyncio.Task[None] | None = None
        self._pause_s = 0.0  # before the next start
        self._closed = False

    async def start(self) -> None:
        """Raises ModelFailedError, or the ModelError of opening."""
        await self.process.start()
        self.up = True

    async def step(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment a frame. Raises ModelFailedError; then the model is being restarted."""
        try:
            result = await self.process.step(image_rgb)
        except ModelFailedError as failure:
            self._failed(failure)
            raise
        self._failing, self._pause_s = False, 0.0
        return result

    async def learner(self, action: str) -> None:
        """freeze, unfreeze, rollback or reset. Raises ModelFailedError while the model is down."""
        if action in ("freeze", "unfreeze"):
            await self._freeze(action == "freeze")
            return
        self._require_up()
        if action == "rollback":
            await self.process.rollback()
        else:
            await self.process.reset()

    async def teach(self, image_rgb: UInt8Array, clicks: Sequence[Click], class_id: int) -> float:
        """See ModelProcess.teach. Raises LessonError; ModelFailedError while the model is down."""
        self._require_up()
        return await self.process.teach(image_rgb, clicks, class_id)

    async def take_back(self) -> bool:
        """See ModelProcess.take_back. Raises ModelFailedError while the model is down."""
        self._require_up()
        return await self.process.take_back()

    async def close(self) -> None:
        """End the process, and whatever would start it again; may be called twice."""
        self._closed = True
        if self._restart is not None:
            self._restart.cancel()
        await self.process.close()
        if self._restart is not None:
            await asyncio.gather(self._restart, return_exceptions=True)

    def _require_up(self) -> None:
        if not self.up:
            raise ModelFailedError("expected a model that answers, it is being started")

    async def _freeze(self, frozen: bool) -> None:
        """Known before it is done: a process that is being started meanwhile is told the same."""
        before, self.frozen = self.frozen, frozen
        try:
            await self.process.freeze(frozen)
        except ModelFailedError:
            self.frozen = before
            raise

    def _failed(self, failure: ModelFailedError) -> None:
        if self._closed:  # the step under way was ended with the process
            return
        if not self._failing or not self.process.alive:  # said once, and when it is restarted
            log.warning("model failed: %s", failure)
        self._failing = True
        self.failures += 1
        if self.up:
            self.up = False
            self._restart = asyncio.create_task(self._start_again(), name="restart")

    async def _start_again(self) -> None:
        while not self.up:
            try:
                if not self.process.alive:
                    await self._pause()
                    await self.process.start()
                    await self.process.freeze(self.frozen)
                self.up = True
            except Exception as failure:  # whatever it is, nobody else tries again
                log.warning("model does not start: %s", type(failure).__name__)

    async def _pause(self) -> None:
        """None before the first restart, then longer ones until a step succeeds."""
        pause_s = self._pause_s
        self._pause_s = min(max(2 * pause_s, RESTART_S[0]), RESTART_S[1])
        await asyncio.sleep(pause_s)

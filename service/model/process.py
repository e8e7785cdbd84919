"""The model in a process of its own: a hung or crashed step can be ended, the picture goes on.

Frames and masks cross through shared memory, everything else through a pipe. One step at a time;
the learner's turn comes after the masks have left, while the picture is drawn and encoded.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import multiprocessing as mp
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from models.errors import LessonError, ModelError
from models.types import ClassResult, ClassSpec, Click, Segmentation, UInt8Array, Update
from service.errors import ServiceError
from service.model.shared_frames import FrameWriter
from service.model.worker import (
    Call,
    Learnt,
    Lesson,
    OpenSegmenter,
    Raised,
    Refused,
    Step,
    Taught,
    kind_of,
    run_model,
)
from service.settings import let_threads_sleep

log = logging.getLogger(__name__)

MOST_RAISED = 3  # steps in a row; a sticky CUDA error goes only with its process


class ModelFailedError(ServiceError):
    """A step failed, hung, or the process is gone."""


@dataclass(frozen=True)
class ModelTimes:
    """Seconds: until the process is ready, and for its first and every later step."""

    start_s: float = 120.0
    first_step_s: float = 20.0
    step_s: float = 2.0

    @classmethod
    def of(cls, engine: str) -> ModelTimes:
        """With this engine: one that compiles takes minutes over its first start."""
        if engine != "cuda_graph":
            return cls()
        return cls(start_s=900.0, first_step_s=120.0, step_s=5.0)


class ModelProcess:
    """Starts, feeds, watches and restarts the model's process.

    open_segmenter must be picklable (a function of a module, a functools.partial of one).
    """

    def __init__(self, open_segmenter: OpenSegmenter, times: ModelTimes | None = None) -> None:
        self._open, self._times = open_segmenter, times or ModelTimes()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._process: Any = None
        self._pipe: Connection | None = None
        self._frames = FrameWriter()
        self._steps = 0
        self._raised = 0  # steps in a row that raised
        self._closed = False
        self.classes: tuple[ClassSpec, ...] = ()
        self.starts = 0
        self.updates: Counter[str] = Counter()  # what the learner did, by outcome
        self.last_updates: tuple[Update, ...] = ()
        self.learner_failures = 0
        self._learner_failing = False  # its last lesson did
        self._learnt: Any = None  # what the next process is to go on with

    @property
    def alive(self) -> bool:
        """Is there a process that answers?"""
        return self._pipe is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Process id, for fault tests and monitoring."""
        return None if self._process is None else int(self._process.pid)

    async def start(self) -> None:
        """Start, or start again. Raises ModelFailedError, or the ModelError of opening."""
        await self._do(self._start)

    async def step(self, image_rgb: UInt8Array) -> Segmentation:
        """Segment a frame. Raises ModelFailedError; after it, `start` again unless `alive`."""
        result: Segmentation = await self._do(self._step, image_rgb)
        return result

    async def teach(self, image_rgb: UInt8Array, clicks: Sequence[Click], class_id: int) -> float:
        """What is clicked on in a frame is of this class, 0: no instrument is there.

        Returns the share of the picture that was taught. Raises LessonError: it cannot be taught,
        and the process goes on; ModelFailedError as `step` does.
        """
        area: float = await self._do(self._teach, image_rgb, tuple(clicks), class_id)
        return area

    async def take_back(self) -> bool:
        """Undo the last lesson; False: there is none."""
        undone: bool = await self._do(self._call, Call("take_back", ()))
        self._learnt = await self._do(self._call, Call("save", ()))
        return undone

    async def freeze(self, frozen: bool) -> None:
        """Stop learning, or go on."""
        await self._do(self._call, Call("freeze", (frozen,)))

    async def rollback(self) -> None:
        """Go back to an earlier state of the learner."""
        await self._do(self._call, Call("rollback", ()))
        self._learnt = await self._do(self._call, Call("save", ()))

    async def reset(self) -> None:
        """Forget the stream."""
        await self._do(self._call, Call("reset", ()))
        self._learnt = None

    async def close(self) -> None:
        """End the process and free the memory; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._process is not None:
            self._process.kill()  # a step or start under way would hold the worker up to its limit
        await self._do(self._stop)
        self._worker.shutdown(wait=True)

    async def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        context = contextvars.copy_context()  # the worker logs as the session it works for
        return await asyncio.get_running_loop().run_in_executor(
            self._worker, context.run, function, *arguments
        )

    def _start(self) -> None:
        if self._steps == 0:
            self._learnt = None  # with it the last process did not get as far as a step
        self._stop()
        try:
            self._process, self._pipe = self._started()
        except OSError as error:
            raise ModelFailedError(f"no process could be started: {kind_of(error)}") from error
        if self._closed:  # meanwhile, and `close` may have seen the process before this one
            self._stop()
            raise ModelFailedError("model process is closed")
        self._steps, self._raised = 0, 0
        self.starts += 1
        answer = self._receive(self._times.start_s)
        if isinstance(answer, Raised):
            self._stop()
            raise ModelFailedError(f"model does not open: {answer.kind}")
        self.classes = answer
        if self._learnt is not None:
            self._call(Call("load", (self._learnt,)))

    def _started(self) -> tuple[Any, Connection]:
        """A process that runs, and our end of its pipe. Raises OSError."""
        context = mp.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=run_model, args=(theirs, self._open), name="trocar-model", daemon=True
        )
        let_threads_sleep()
        try:
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def _step(self, image_rgb: UInt8Array) -> Segmentation:
        started = time.perf_counter()
        height, width = image_rgb.shape[:2]
        self._send(Step(self._written(image_rgb), (height, width, 3)))
        limit = self._times.step_s if self._steps else self._times.first_step_s
        results: tuple[ClassResult, ...] | Raised = self._receive(limit)
        if isinstance(results, Raised):
            self._step_raised(results)
        self._steps, self._raised = self._steps + 1, 0
        classes = self._frames.class_map((height, width))
        return Segmentation(classes, results, (time.perf_counter() - started) * 1e3)

    def _teach(self, image_rgb: UInt8Array, clicks: tuple[Click, ...], class_id: int) -> float:
        height, width = image_rgb.shape[:2]
        name = self._written(image_rgb)
        self._send(Lesson(name, (height, width, 3), clicks, class_id))
        answer: Taught | Refused | Raised = self._receive(self._times.first_step_s)
        if isinstance(answer, Raised):
            raise ModelFailedError(f"lesson failed: {answer.kind}")
        if isinstance(answer, Refused):
            raise LessonError(answer.sentence)
        self._learnt = answer.saved
        return answer.area

    def _written(self, image_rgb: UInt8Array) -> str:
        try:
            return self._frames.write(image_rgb)
        except OSError as error:
            raise ModelFailedError(f"no shared memory for a frame: {kind_of(error)}") from error

    def _step_raised(self, raised: Raised) -> NoReturn:
        """One bad frame costs itself; a model that does nothing but raise is ended."""
        self._raised += 1
        if self._raised < MOST_RAISED:
            raise ModelFailedError(f"step failed: {raised.kind}")
        self._stop()
        raise ModelFailedError(f"{self._raised} steps in a row failed: {raised.kind}")

    def _call(self, call: Call) -> Any:
        self._send(call)
        answer = self._receive(self._times.step_s)
        if isinstance(answer, Raised):
            raise ModelFailedError(f"call failed: {answer.kind}")
        return answer

    def _send(self, message: Step | Lesson | Call) -> None:
        if self._pipe is None:
            raise ModelFailedError("model process is not running")
        try:
            self._pipe.send(message)
        except OSError as error:
            self._stop()
            raise ModelFailedError("model process is gone") from error

    def _receive(self, limit_s: float) -> Any:
        """The next answer, which may be Raised; lessons that come before it are noted."""
        try:
            answer = self._next(limit_s)
            while isinstance(answer, Learnt):
                self._note(answer)
                answer = self._next(limit_s)
        except (EOFError, OSError) as error:
            self._stop()
            raise ModelFailedError("model process died") from error
        if isinstance(answer, ModelError):
            self._stop()
            raise answer
        return answer

    def _next(self, limit_s: float) -> Any:
        assert self._pipe is not None
        if not self._pipe.poll(limit_s):
            self._stop()
            raise ModelFailedError(f"model did not answer within {limit_s:g} s")
        return self._pipe.recv()

    def _note(self, lesson: Learnt) -> None:
        self.last_updates = lesson.updates
        self.updates.update(str(update) for update in lesson.updates)
        if lesson.saved is not None:
            self._learnt = lesson.saved
        if lesson.failure is not None:
            self.learner_failures += 1
            if not self._learner_failing:  # said once, not per frame
                log.warning("learner failed: %s", lesson.failure)
        self._learner_failing = lesson.failure is not None

    def _stop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
        self._frames.free()

"""One live session: source -> newest frame -> one model step -> overlay -> every viewer.

A mask is drawn on the frame it was computed from and on no other. While the model is late or gone,
viewers get the newest frame without masks, under a badge that says so. Viewers who draw the masks
themselves get every frame at once, and its masks as a message when they are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from prometheus_client.metrics_core import Metric

from models.types import Segmentation
from service.admission import Pace
from service.badge import AT_MODEL_RATE, Badge
from service.class_status import classes_status, unnamed_status
from service.composer import Composer
from service.live_numbers import FrameInterval, LiveNumbers, quantiles, rate, silent_s
from service.metrics import SessionCollector
from service.model_process import ModelFailedError, ModelProcess
from service.recording import Recording
from service.settings import Settings
from streaming.encoding import rtp_stamp
from streaming.frame import Frame
from streaming.mask_wire import write_mask
from streaming.peers import Peers
from streaming.pump import Pump, PumpState
from streaming.rendition import Rendition
from streaming.slot import LatestSlot, SlotClosedError
from streaming.sources import Source
from streaming.whip import InboundStream

__all__ = ["Badge", "Session", "SessionPlan"]

log = logging.getLogger(__name__)

LONGEST_DEADLINE_S = 0.5
CLOSE_S = 2.5  # a source whose read does not return is left to its thread
RESTART_S = (0.5, 5.0)  # first and longest pause between starts that bring no step
SILENCE_S = 1.0  # without a frame for this long, a source counts as lost, a picture as stale


@dataclass(frozen=True)
class SessionPlan:
    """What a session shows: how to open its source, its names, what it is when all is well.

    badge: LIVE, DEMO or RECORDING
    inbound: what is published into the session, where that is its source
    record: whether it is recorded from its start on
    """

    open_source: Callable[[], Source]
    shown_source: str
    shown_profile: str
    badge: Badge
    mark: bool
    inbound: InboundStream | None = None
    record: bool = False


class Session:
    """Owns the source's pump, the model process, the viewers and the numbers about them."""

    def __init__(self, plan: SessionPlan, model: ModelProcess, settings: Settings) -> None:
        self._plan, self._model, self._settings = plan, model, settings
        self._incoming: LatestSlot[Frame] = LatestSlot()
        self._pump = Pump(plan.open_source, self._incoming)
        self._to_model: LatestSlot[Frame] = LatestSlot()
        self._composer = Composer(lambda: model.classes, mark=plan.mark)
        self._numbers = LiveNumbers()
        self._overlay = Rendition("overlay", self._numbers.note_sent)
        self._plain = Rendition("plain", self._numbers.note_sent_plain)
        self.peers = Peers({"overlay": self._overlay, "plain": self._plain}, settings.viewers)
        self._tasks: list[asyncio.Task[None]] = []
        self._pending: asyncio.Task[Segmentation] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._frozen = not settings.online
        self._recording = Recording(settings.record)
        self._interval_s = 0.04
        self._interval = FrameInterval(self._interval_s)
        self._numbers.registry.register(SessionCollector(self))
        self._frame_failing = False
        self._last: Segmentation | None = None
        self._badge = Badge.STARTING
        self._model_up = False
        self._model_failing = False  # no step has succeeded since one failed
        self._restart_pause_s = 0.0
        self._closed = False

    async def start(self, admit: Callable[[float], None] = lambda fps: None) -> None:
        """Open source and model. Raises SourceError, ModelError, ModelFailedError.

        admit: told the source's frame rate before the model is started; raises to end the start
        """
        source = await asyncio.to_thread(self._plan.open_source)  # others' pictures go on
        self._interval_s = float(1 / source.fps)
        self._interval = FrameInterval(self._interval_s)
        try:
            admit(float(source.fps))
            await self._model.start()
        except BaseException:
            source.close()
            raise
        self._model_up = True
        if self._plan.record:
            self.record()
        self._pump.start(source)
        self._tasks = [
            asyncio.create_task(self._take_frames(), name="frames"),
            asyncio.create_task(self._run(), name="session"),
        ]

    @property
    def full(self) -> bool:
        """No further viewer is admitted."""
        return self.peers.full

    @property
    def inbound(self) -> InboundStream | None:
        """What is published into this session; None where its source is another one."""
        return self._plan.inbound

    @property
    def model_pid(self) -> int | None:
        """Process id of the model, for monitoring."""
        return self._model.pid

    @property
    def ready(self) -> bool:
        """Is the model answering?"""
        return self._model_up

    async def close(self) -> None:
        """Stop everything and wait for it; may be called twice."""
        self._closed = True
        self._incoming.close()
        self._to_model.close()
        for task in self._tasks:
            task.cancel()
        if self._restart is not None:
            self._restart.cancel()
        ended = asyncio.get_running_loop().run_in_executor(None, self._pump.close, CLOSE_S)
        closing = (self.peers.close(), self._model.close(), self._recording.close())
        failed = list(await asyncio.gather(*closing, ended, return_exceptions=True))
        waiting = [t for t in (*self._tasks, self._restart, self._pending) if t is not None]
        await asyncio.gather(*waiting, return_exceptions=True)
        last = [self._overlay.close(), self._plain.close()]
        if self.inbound is not None:
            last.append(self.inbound.close())
        failed += await asyncio.gather(*last, return_exceptions=True)
        for error in failed:  # only now: what fails to close must not keep the rest open
            if isinstance(error, Exception):
                raise error

    def record(self) -> None:
        """Record from now on. Raises RecordingForbiddenError, RecordingStateError."""
        self._recording.start(Fraction(1 / self._interval_s))

    async def stop_recording(self) -> None:
        """Finish the files. Raises RecordingStateError."""
        await self._recording.stop()

    async def learner(self, action: str) -> None:
        """freeze, unfreeze, rollback or reset. Raises ModelFailedError while the model is down."""
        if action in ("freeze", "unfreeze"):
            await self._freeze(action == "freeze")
        elif not self._model_up:
            raise ModelFailedError("expected a model that answers, it is being started")
        elif action == "rollback":
            await self._model.rollback()
        else:
            await self._model.reset()

    async def _freeze(self, frozen: bool) -> None:
        """Known before it is done: a process that is being started meanwhile is told the same."""
        before, self._frozen = self._frozen, frozen
        try:
            await self._model.freeze(frozen)
        except ModelFailedError:
            self._frozen = before
            raise

    async def _take_frames(self) -> None:
        """Every frame goes out untouched at once, and on to the model, newest first."""
        while True:
            try:
                frame = await self._incoming.get()
            except SlotClosedError:
                return
            if self._plan.badge is Badge.LIVE:  # what a camera states is a guess
                self._interval.note(frame)
                self._interval_s = self._interval.interval_s
            self._plain.show(self._composer.untouched(frame))
            self._recording.frame(frame)
            self._to_model.put(frame)

    async def _run(self) -> None:
        while True:
            try:
                frame = await self._to_model.get()
            except SlotClosedError:
                return
            try:
                await self._handle(frame)
                self._frame_failing = False
            except Exception:  # one frame that cannot be shown must not end the picture
                self._numbers.broken += 1
                if not self._frame_failing:
                    log.exception("a frame could not be shown")
                self._frame_failing = True

    async def _handle(self, frame: Frame) -> None:
        if self._pending is not None and not self._pending.done():
            self._show_plain(frame, Badge.LATE)
        elif not self._model_up:
            self._show_plain(frame, Badge.OFF)
        else:
            await self._segment_and_show(frame)

    async def _segment_and_show(self, frame: Frame) -> None:
        self._pending = asyncio.create_task(self._model.step(frame.image_rgb), name="step")
        done, _ = await asyncio.wait({self._pending}, timeout=self._deadline_s())
        if not done:
            self._numbers.late += 1
            self._pending.add_done_callback(self._collect)
            self._show_plain(self._to_model.take() or frame, Badge.LATE)
            return
        try:
            result = self._pending.result()
        except ModelFailedError as failure:
            self._model_failed(failure)
            self._show_plain(self._to_model.take() or frame, Badge.OFF)
            return
        self._take_result(result)
        self._badge = self._live_badge()
        self._numbers.masked += 1
        self._overlay.show(self._composer.masked(frame, result))
        self._recording.mask(frame, result.class_map)
        await self._send_masks(frame, result)

    def _collect(self, task: asyncio.Task[Segmentation]) -> None:
        """A step that came after its deadline: its mask is never shown, its numbers count."""
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, ModelFailedError):
            self._model_failed(error)
        elif error is None:
            self._take_result(task.result())

    def _take_result(self, result: Segmentation) -> None:
        self._last = result
        self._model_failing, self._restart_pause_s = False, 0.0
        self._numbers.note_step(result)

    def _deadline_s(self) -> float:
        """Two frame intervals; twice the model's own pace where it is slower than the video."""
        allowed = self._settings.deadline_intervals * self._interval_s
        usual = self._numbers.usual_step_s()
        return min(LONGEST_DEADLINE_S, max(allowed, 2 * usual)) if usual else LONGEST_DEADLINE_S

    def _live_badge(self) -> Badge:
        slow = self._numbers.usual_step_s() > self._interval_s
        return AT_MODEL_RATE[self._plan.badge] if slow else self._plan.badge

    def _model_failed(self, failure: ModelFailedError) -> None:
        if self._closed:  # the step under way was ended with the process
            return
        if not self._model_failing or not self._model.alive:  # said once, and when it is restarted
            log.warning("model failed: %s", failure)
        self._model_failing = True
        self._numbers.failures += 1
        if self._model_up:
            self._model_up = False
            self._restart = asyncio.create_task(self._restart_model(), name="restart")

    async def _restart_model(self) -> None:
        while True:
            try:
                if not self._model.alive:
                    await self._pause_before_restart()
                    await self._model.start()
                    await self._model.freeze(self._frozen)
                self._model_up = True
            except Exception as failure:  # whatever it is, nobody else tries again
                log.warning("model does not start: %s", type(failure).__name__)
            else:
                return

    async def _pause_before_restart(self) -> None:
        """None before the first restart, then longer ones until a step succeeds."""
        pause_s = self._restart_pause_s
        self._restart_pause_s = min(max(2 * pause_s, RESTART_S[0]), RESTART_S[1])
        await asyncio.sleep(pause_s)

    def _show_plain(self, frame: Frame, badge: Badge) -> None:
        self._badge = badge
        self._numbers.plain += 1
        self._overlay.show(self._composer.badged(frame, badge))

    async def _send_masks(self, frame: Frame, result: Segmentation) -> None:
        if not self.peers.masks_wanted:
            return
        stamp = rtp_stamp(frame.captured_ns)
        message = await asyncio.to_thread(write_mask, result.class_map, stamp, frame.index)
        self.peers.send_mask(message)

    def pace(self) -> Pace:
        """What it asks of the model now."""
        ended = self._pump.state is PumpState.ENDED
        return Pace(self._numbers.usual_step_s(), 0.0 if ended else 1 / self._interval_s)

    def badge(self) -> Badge:
        """What the viewer sees now, the source's silence included."""
        patience_s = max(SILENCE_S, 5 * self._interval_s)
        if self._pump.state is PumpState.ENDED:
            return Badge.ENDED
        silent = silent_s(self._pump.arrivals) > patience_s
        lost = self._pump.state is PumpState.LOST
        if lost and self.inbound is None:  # one that nobody has published into yet is not lost
            return Badge.LOST
        if self._badge is not Badge.STARTING and (silent or lost):
            return Badge.LOST
        if silent_s(self._numbers.sent) > patience_s:
            return Badge.STALE
        if self._plain.watched and silent_s(self._numbers.sent_plain) > patience_s:
            return Badge.STALE
        return self._badge

    def capture_to_send_ms(self, since_ns: int, *, plain: bool) -> list[float]:
        """See LiveNumbers."""
        return self._numbers.capture_to_send_ms(since_ns, plain=plain)

    def status(self) -> dict[str, Any]:
        """Numbers for the page and for monitoring."""
        numbers = self._numbers
        return {
            "badge": self.badge().value,
            "source": self._plan.shown_source,
            "source_state": self._pump.state.value,
            "profile": self._plan.shown_profile,
            "demo": self._plan.badge is Badge.DEMO,
            "picture": self._pump.taken_as().status(),
            "source_fps": round(1 / self._interval_s, 3),
            "fps_in": round(rate(list(self._pump.arrivals)), 1),
            "fps_out": round(rate(numbers.sent), 1),
            "step_ms": quantiles(numbers.step_ms),
            "draw_and_encode_ms": quantiles(self._overlay.work_ms),
            "capture_to_send_ms": quantiles(numbers.latency_ms),
            "plain_capture_to_send_ms": quantiles(numbers.plain_latency_ms),
            "deadline_ms": round(self._deadline_s() * 1e3, 1),
            "frames_dropped": {
                "lost_on_the_way": self.inbound.lost if self.inbound else 0,
                "newer_frame_came": self._incoming.replaced
                + self._to_model.replaced
                + (self.inbound.replaced if self.inbound else 0),
                "model_late": numbers.late,
                "encoder_behind": self._overlay.replaced + self._plain.replaced,
                "could_not_be_shown": numbers.broken + self._overlay.failed + self._plain.failed,
            },
            "frames_in": self._pump.frames,
            "frames_sent": numbers.frames_sent,
            "frames_masked": numbers.masked,
            "frames_shown_plain": numbers.plain,
            "source_losses": self._pump.losses,
            "updates": dict(self._model.updates),
            "learner_failures": self._model.learner_failures,
            "learner_frozen": self._frozen,
            "model_failures": numbers.failures,
            "model_starts": self._model.starts,
            "viewers": len(self.peers),
            "renditions": {one.name: one.numbers() for one in (self._overlay, self._plain)},
            "masks_skipped": self.peers.masks_skipped,
            "recording": self._recording.numbers(),
            "classes": classes_status(self._model.classes, self._last, self._model.last_updates),
            "unnamed": unnamed_status(self._last),
        }

    def metrics(self) -> Iterable[Metric]:
        """The same for Prometheus, with histograms."""
        return self._numbers.registry.collect()

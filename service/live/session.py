"""One live session: source -> newest frame -> one model step -> overlay -> every viewer.

A mask is drawn on the frame it was computed from and on no other. While the model is late or gone,
viewers get the newest frame without masks, under a badge that says so. Viewers who draw the masks
themselves get every frame at once, and its masks as a message when they are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from fractions import Fraction

from models.types import Segmentation
from service.live.admission import Pace
from service.live.badge import AT_MODEL_RATE, Badge
from service.live.composer import Composer
from service.live.lessons import Lessons
from service.live.numbers import FrameInterval, LiveNumbers, rate, silent_s
from service.live.recording import Recording
from service.live.session_config import SessionConfig
from service.live.status import (
    FramesDropped,
    Quantiles,
    SessionStatus,
    UnnamedStatus,
    class_statuses,
)
from service.live.supervisor import Supervisor
from service.model.process import ModelFailedError, ModelProcess
from service.settings import Settings
from streaming.encoding import rtp_stamp
from streaming.frame import Frame
from streaming.mask_wire import write_mask
from streaming.peers import Peers
from streaming.pump import Pump, PumpState
from streaming.rendition import Rendition
from streaming.slot import LatestSlot, SlotClosedError
from streaming.whip import InboundStream

log = logging.getLogger(__name__)

LONGEST_DEADLINE_S = 0.5
CLOSE_S = 2.5  # a source whose read does not return is left to its thread
SILENCE_S = 1.0  # without a frame for this long, a source counts as lost, a picture as stale


class Session:
    """Owns the source's pump, the model process, the viewers and the numbers about them."""

    def __init__(self, plan: SessionConfig, model: ModelProcess, settings: Settings) -> None:
        self._plan, self._settings = plan, settings
        self._model = Supervisor(model, frozen=not settings.online)
        self._incoming: LatestSlot[Frame] = LatestSlot()
        self._pump = Pump(plan.open_source, self._incoming)
        self._to_model: LatestSlot[Frame] = LatestSlot()
        self._composer = Composer(lambda: model.classes, mark=plan.mark)
        self.numbers = LiveNumbers()
        self._overlay = Rendition("overlay", self.numbers.overlay.note)
        self._plain = Rendition("plain", self.numbers.plain.note)
        self.peers = Peers({"overlay": self._overlay, "plain": self._plain}, settings.viewers)
        self.lessons = Lessons(self._model, self.peers)
        self._tasks: list[asyncio.Task[None]] = []
        self._pending: asyncio.Task[Segmentation] | None = None
        self._recording = Recording(settings.record)
        self._interval = FrameInterval(0.04)
        self._frame_failing = False
        self._last: Segmentation | None = None
        self._badge = Badge.STARTING

    async def start(self, admit: Callable[[float], None] = lambda fps: None) -> None:
        """Open source and model. Raises SourceError, ModelError, ModelFailedError.

        admit: told the source's frame rate before the model is started; raises to end the start
        """
        source = await asyncio.to_thread(self._plan.open_source)  # others' pictures go on
        self._interval = FrameInterval(float(1 / source.fps))
        try:
            admit(float(source.fps))
            await self._model.start()
        except BaseException:
            source.close()
            raise
        if self._plan.record:
            self.record()
        self._pump.start(source)
        self._tasks = [
            asyncio.create_task(self._take_frames(), name="frames"),
            asyncio.create_task(self._run(), name="session"),
        ]

    @property
    def inbound(self) -> InboundStream | None:
        """What is published into this session; None where its source is another one."""
        return self._plan.inbound

    @property
    def model_pid(self) -> int | None:
        """Process id of the model, for monitoring."""
        return self._model.process.pid

    @property
    def ready(self) -> bool:
        """Is the model answering?"""
        return self._model.up

    async def close(self) -> None:
        """Stop everything and wait for it; may be called twice."""
        self._incoming.close()
        self._to_model.close()
        for task in self._tasks:
            task.cancel()
        ended = asyncio.get_running_loop().run_in_executor(None, self._pump.close, CLOSE_S)
        closing = (self.peers.close(), self._model.close(), self._recording.close())
        failed = list(await asyncio.gather(*closing, ended, return_exceptions=True))
        waiting = [task for task in (*self._tasks, self._pending) if task is not None]
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
        self._recording.start(Fraction(1 / self._interval.interval_s))

    async def stop_recording(self) -> None:
        """Finish the files. Raises RecordingStateError."""
        await self._recording.stop()

    async def learner(self, action: str) -> None:
        """freeze, unfreeze, rollback or reset. Raises ModelFailedError while the model is down."""
        await self._model.learner(action)

    async def _take_frames(self) -> None:
        """Every frame goes out untouched at once, and on to the model, newest first."""
        while True:
            try:
                frame = await self._incoming.get()
            except SlotClosedError:
                return
            if self._plan.badge is Badge.LIVE:  # what a camera states is a guess
                self._interval.note(frame)
            self._plain.show(self._composer.untouched(frame))
            self._recording.frame(frame)
            self.lessons.frames.add(frame)
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
                self.numbers.broken += 1
                if not self._frame_failing:
                    log.exception("a frame could not be shown")
                self._frame_failing = True

    async def _handle(self, frame: Frame) -> None:
        if self._pending is not None and not self._pending.done():
            self._show_plain(frame, Badge.LATE)
        elif not self._model.up:
            self._show_plain(frame, Badge.OFF)
        else:
            await self._segment_and_show(frame)

    async def _segment_and_show(self, frame: Frame) -> None:
        self._pending = asyncio.create_task(self._model.step(frame.image_rgb), name="step")
        done, _ = await asyncio.wait({self._pending}, timeout=self._deadline_s())
        if not done:
            self.numbers.late += 1
            self._pending.add_done_callback(self._collect)
            self._show_plain(self._to_model.take() or frame, Badge.LATE)
            return
        try:
            result = self._pending.result()
        except ModelFailedError:
            self._show_plain(self._to_model.take() or frame, Badge.OFF)
            return
        self._take_result(result)
        self._badge = self._live_badge()
        self.numbers.masked += 1
        self._overlay.show(self._composer.masked(frame, result))
        self._recording.mask(frame, result.class_map)
        await self._send_masks(frame, result)

    def _collect(self, task: asyncio.Task[Segmentation]) -> None:
        """A step that came after its deadline: its mask is never shown, its numbers count."""
        if not task.cancelled() and task.exception() is None:
            self._take_result(task.result())

    def _take_result(self, result: Segmentation) -> None:
        self._last = result
        self.numbers.note_step(result)

    def _deadline_s(self) -> float:
        """Two frame intervals; twice the model's own pace where it is slower than the video."""
        allowed = self._settings.deadline_intervals * self._interval.interval_s
        usual = self.numbers.usual_step_s()
        return min(LONGEST_DEADLINE_S, max(allowed, 2 * usual)) if usual else LONGEST_DEADLINE_S

    def _live_badge(self) -> Badge:
        slow = self.numbers.usual_step_s() > self._interval.interval_s
        return AT_MODEL_RATE[self._plan.badge] if slow else self._plan.badge

    def _show_plain(self, frame: Frame, badge: Badge) -> None:
        self._badge = badge
        self.numbers.shown_plain += 1
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
        return Pace(self.numbers.usual_step_s(), 0.0 if ended else 1 / self._interval.interval_s)

    def badge(self) -> Badge:
        """What the viewer sees now, the source's silence included."""
        patience_s = max(SILENCE_S, 5 * self._interval.interval_s)
        if self._pump.state is PumpState.ENDED:
            return Badge.ENDED
        silent = silent_s(self._pump.arrivals) > patience_s
        lost = self._pump.state is PumpState.LOST
        if lost and self.inbound is None:  # one that nobody has published into yet is not lost
            return Badge.LOST
        if self._badge is not Badge.STARTING and (silent or lost):
            return Badge.LOST
        if silent_s(self.numbers.overlay.times) > patience_s:
            return Badge.STALE
        if self._plain.watched and silent_s(self.numbers.plain.times) > patience_s:
            return Badge.STALE
        return self._badge

    def status(self) -> SessionStatus:
        """Numbers for the page and for monitoring."""
        numbers, model = self.numbers, self._model.process
        return SessionStatus(
            badge=self.badge(),
            source=self._plan.shown_source,
            profile=self._plan.shown_profile,
            source_fps=round(1 / self._interval.interval_s, 3),
            viewers=len(self.peers),
            source_state=self._pump.state.value,
            picture=self._pump.taken_as(),
            demo=self._plan.badge is Badge.DEMO,
            fps_in=round(rate(list(self._pump.arrivals)), 1),
            fps_out=round(rate(numbers.overlay.times), 1),
            step_ms=Quantiles.of(numbers.step_ms),
            capture_to_send_ms=Quantiles.of(numbers.overlay.latency_ms),
            deadline_ms=round(self._deadline_s() * 1e3, 1),
            frames_dropped=self._frames_dropped(),
            frames_in=self._pump.frames,
            frames_sent=numbers.overlay.count,
            frames_masked=numbers.masked,
            frames_shown_plain=numbers.shown_plain,
            source_losses=self._pump.losses,
            updates=dict(model.updates),
            learner_failures=model.learner_failures,
            learner_frozen=self._model.frozen,
            lessons=self.lessons.status(),
            model_failures=self._model.failures,
            model_starts=model.starts,
            recording=self._recording.status(),
            classes=class_statuses(model.classes, self._last, model.last_updates),
            unnamed=UnnamedStatus.of(self._last),
            draw_and_encode_ms=Quantiles.of(self._overlay.work_ms),
            plain_capture_to_send_ms=Quantiles.of(numbers.plain.latency_ms),
            renditions={one.name: one.status() for one in (self._overlay, self._plain)},
            masks_skipped=self.peers.masks_skipped,
        )

    def _frames_dropped(self) -> FramesDropped:
        inbound, pictures = self.inbound, (self._overlay, self._plain)
        replaced = self._incoming.replaced + self._to_model.replaced
        return FramesDropped(
            lost_on_the_way=inbound.lost if inbound else 0,
            newer_frame_came=replaced + (inbound.replaced if inbound else 0),
            model_late=self.numbers.late,
            encoder_behind=sum(one.replaced for one in pictures),
            could_not_be_shown=self.numbers.broken + sum(one.failed for one in pictures),
        )

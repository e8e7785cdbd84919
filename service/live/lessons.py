"""What a person teaches of the picture on a display; frames wait, so that the right one is meant.

A press belongs to the very frame that was seen. The newest frames wait in a ring; the frame of a
press is held beyond it, because to choose a name takes longer than the ring is long.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

from models.types import Click
from service.errors import LessonStateError
from service.live.status import LessonStatus
from service.live.supervisor import Supervisor
from streaming.encoding import rtp_stamp
from streaming.frame import Frame
from streaming.peers import Peers

log = logging.getLogger(__name__)

KEPT_S, KEPT, KEPT_BYTES = 2.0, 64, 256 * 2**20  # of the ring; whichever is reached first
HELD = 4  # frames of presses whose names are being chosen


class KeptFrames:
    """Frames by the stamp of their capture: the newest, and those that somebody pressed on."""

    def __init__(self) -> None:
        self._newest: OrderedDict[int, Frame] = OrderedDict()
        self._held: OrderedDict[int, Frame] = OrderedDict()
        self.nbytes = 0  # of the pictures in the ring

    def __len__(self) -> int:
        """Frames in the ring."""
        return len(self._newest)

    def add(self, frame: Frame) -> None:
        """The newest frame; the oldest make room."""
        self._newest[_stamp(frame)] = frame
        self.nbytes += frame.image_rgb.nbytes
        while len(self._newest) > 1 and self._too_many(frame.captured_ns):
            _, oldest = self._newest.popitem(last=False)
            self.nbytes -= oldest.image_rgb.nbytes

    def hold(self, frame: Frame) -> None:
        """Keep this frame until HELD later ones are held."""
        stamp = _stamp(frame)
        self._held[stamp] = frame
        self._held.move_to_end(stamp)
        if len(self._held) > HELD:
            self._held.popitem(last=False)

    def of(self, stamp: int) -> Frame | None:
        """The frame of this stamp, modulo 2^32; None where it is gone."""
        return self._newest.get(stamp) or self._held.get(stamp)

    def _too_many(self, now_ns: int) -> bool:
        oldest = next(iter(self._newest.values()))
        old = now_ns - oldest.captured_ns > KEPT_S * 1e9
        return old or len(self._newest) > KEPT or self.nbytes > KEPT_BYTES


def _stamp(frame: Frame) -> int:
    return rtp_stamp(frame.captured_ns) % (1 << 32)


class Lessons:
    """One session's lessons."""

    def __init__(self, model: Supervisor, peers: Peers) -> None:
        self._model, self._peers = model, peers
        self.frames = KeptFrames()
        self._taught = self._taken_back = 0

    def hold(self, viewer: str, timestamp: int) -> None:
        """Keep the frame of a press while its name is being chosen.

        viewer: id of the connection that shows it; timestamp: of the frame, as this viewer got it
        Raises LessonStateError: the frame is gone.
        """
        self.frames.hold(self._frame(viewer, timestamp))

    async def teach(
        self, viewer: str, timestamp: int, clicks: Sequence[Click], class_id: int
    ) -> float:
        """What is clicked on in a frame is of this class, 0: no instrument is there.

        viewer, timestamp: as for `hold`. Returns the share of the picture that was taught.
        Raises LessonStateError, LessonError, ModelFailedError.
        """
        frame = self._frame(viewer, timestamp)
        area = await self._model.teach(frame.image_rgb, clicks, class_id)
        self._taught += 1
        log.info("lesson taught: class %d, %.1f %% of the picture", class_id, area * 100)
        return area

    async def take_back(self) -> None:
        """Undo the last lesson. Raises LessonStateError: there is none; ModelFailedError."""
        if not await self._model.take_back():
            raise LessonStateError("expected a lesson to take back, there is none")
        self._taken_back += 1
        log.info("lesson taken back")

    def status(self) -> LessonStatus:
        """How many there were."""
        return LessonStatus(self._taught, self._taken_back)

    def _frame(self, viewer: str, timestamp: int) -> Frame:
        stamp = self._peers.stamp_of(viewer, timestamp)
        if stamp is None:
            raise LessonStateError("expected a viewer that plays this session, this one does not")
        frame = self.frames.of(stamp)
        if frame is None:
            raise LessonStateError("expected a frame of the last 2 s, this one is not kept")
        return frame

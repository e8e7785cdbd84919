"""The track a viewer pulls from: packets that were encoded once for everybody.

Two places of aiortc 1.16 are used that it does not document, each in a function of its own below;
tests hold both against what a viewer really gets.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError

from streaming.encoding import CLOCK, Encoded
from streaming.rendition import Rendition, Watcher
from streaming.slot import SlotClosedError


class PacketTrack(MediaStreamTrack):
    """Pulled by aiortc's sender once the viewer is connected; only then the rendition is watched.

    taken: called with each picture that the sender has sent
    """

    kind = "video"

    def __init__(self, rendition: Rendition, taken: Callable[[Encoded], None]) -> None:
        super().__init__()
        self._rendition, self._taken = rendition, taken
        self._watcher: Watcher | None = None
        self._last: Encoded | None = None

    async def recv(self) -> av.Packet[Any]:
        """The next picture, encoded. aiortc asks again when it has sent the one before."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._watcher is None:
            self._watcher = self._rendition.watch()
        if self._last is not None:
            self._taken(self._last)
        try:
            coded = self._last = await self._watcher.get()
        except SlotClosedError:
            self.stop()
            raise MediaStreamError from None
        packet: av.Packet[Any] = av.Packet(coded.data)
        packet.pts, packet.time_base = coded.stamp, Fraction(1, CLOCK)
        return packet

    @property
    def dropped(self) -> int:
        """Pictures that this viewer did not get."""
        return self._watcher.dropped if self._watcher else 0

    def stop(self) -> None:
        """Leave the rendition; may be called twice."""
        if self._watcher is not None:
            self._rendition.leave(self._watcher)
        super().stop()


def on_keyframe_asked(sender: RTCRtpSender, ask: Callable[[], None]) -> None:
    """Call `ask` when the viewer reports a lost picture (PLI, FIR).

    aiortc would note it for an encoder of the sender's own, which is not used here.
    """
    setattr(sender, "_send_keyframe", ask)  # noqa: B010 (mypy: a method is replaced)


def last_timestamp(sender: RTCRtpSender) -> int:
    """RTP timestamp of the last packet sent. aiortc picks a random origin and keeps it inside."""
    return int(getattr(sender, "_RTCRtpSender__rtp_timestamp"))  # noqa: B009 (for mypy)

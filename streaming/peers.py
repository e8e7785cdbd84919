"""Viewers' peer connections: offer in, answer out, closed when either side is gone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from streaming.encoding import Encoded, prefer_vp8
from streaming.mask_wire import MaskMessage
from streaming.negotiation import (
    CONNECT_S,
    OfferError,
    SdpAnswer,
    new_connection,
    read_offer,
    refusing,
    when_gone,
)
from streaming.playout import show_at_once
from streaming.rendition import Rendition
from streaming.webrtc import PacketTrack, last_timestamp, on_keyframe_asked

__all__ = ["OfferError", "Peers", "SdpAnswer"]

MASKS = "masks"  # label of the data channel that a viewer makes who draws the masks himself
BEHIND = 32 * 1024  # bytes of masks under way to one viewer; past it, masks are left out


class Viewer:
    """One connection that watches a rendition."""

    def __init__(self, connection: RTCPeerConnection, rendition: Rendition) -> None:
        self.connection = connection
        self.masks: RTCDataChannel | None = None
        self.masks_skipped = 0
        self._origin: int | None = None  # of this viewer's RTP timestamps
        self._track = PacketTrack(rendition, self._taken)
        self._sender = connection.addTrack(self._track)
        on_keyframe_asked(self._sender, rendition.ask_keyframe)

    def send_mask(self, mask: MaskMessage) -> None:
        """Send a mask, unless the viewer has no picture yet or is behind."""
        if self.masks is None or self.masks.readyState != "open":
            return
        if self._origin is None or self.masks.bufferedAmount > BEHIND:
            self.masks_skipped += 1
            return
        self.masks.send(mask.stamped((mask.stamp + self._origin) % (1 << 32)))

    def stamp_of(self, rtp_timestamp: int) -> int | None:
        """The stamp, modulo 2^32, of the frame that this viewer got with this timestamp."""
        return None if self._origin is None else (rtp_timestamp - self._origin) % (1 << 32)

    def leave(self) -> None:
        """Watch no more; may be called twice."""
        self._track.stop()

    def _taken(self, coded: Encoded) -> None:
        self._origin = (last_timestamp(self._sender) - coded.stamp) % (1 << 32)


class Peers:
    """The peer connections of one session.

    renditions: by the name of the view that an offer asks for; masks_in: the view whose viewers
    may draw the masks themselves
    """

    def __init__(
        self,
        renditions: Mapping[str, Rendition],
        limit: int,
        *,
        masks_in: str = "plain",
        connect_s: float = CONNECT_S,
    ) -> None:
        self._renditions, self._limit = renditions, limit
        self._masks_in, self._connect_s = masks_in, connect_s
        self._connections: dict[str, RTCPeerConnection] = {}
        self._viewers: dict[str, Viewer] = {}
        self._replaced: dict[str, str] = {}  # by the connection that came in its place
        self._closing: set[asyncio.Task[bool]] = set()
        self._skipped = 0  # masks of viewers who have left

    def __len__(self) -> int:
        """Connections now, those that are being made included."""
        return len(self._connections)

    @property
    def full(self) -> bool:
        """No further viewer is admitted."""
        return not self.has_room()

    def has_room(self, replaces: str | None = None) -> bool:
        """Is another viewer admitted? One may be who takes his own place, once."""
        leaving = set(self._replaced.values()) & self._connections.keys()
        takes_over = replaces in self._connections and replaces not in leaving
        return takes_over or len(self) - len(leaving) < self._limit

    @property
    def masks_wanted(self) -> bool:
        """Does anybody draw the masks himself?"""
        return any(viewer.masks is not None for viewer in self._viewers.values())

    @property
    def masks_skipped(self) -> int:
        """Masks that a viewer did not get because he was behind."""
        return self._skipped + sum(viewer.masks_skipped for viewer in self._viewers.values())

    async def answer(
        self, sdp: str, view: str = "overlay", replaces: str | None = None
    ) -> SdpAnswer:
        """Answer an offer that wants to receive video.

        view: name of a rendition; replaces: id of the connection that the viewer ends when this
        one plays. Raises OfferError, also where every place is taken.
        """
        if view not in self._renditions:
            raise OfferError(f"expected view {' or '.join(self._renditions)}, got {view[:32]!r}")
        if not self.has_room(replaces):
            raise OfferError(f"expected at most {self._limit} viewers, every place is taken")
        offer, connection, key = read_offer(sdp), new_connection(), uuid.uuid4().hex
        self._connections[key] = connection
        if replaces in self._connections:
            self._replaced[key] = replaces
        try:
            with refusing():
                return SdpAnswer(await self._negotiate(key, connection, offer, view), key)
        except BaseException:
            await self.hang_up(key)
            raise

    async def hang_up(self, key: str) -> bool:
        """End a connection; False where there is none of that id."""
        self._replaced.pop(key, None)
        viewer = self._viewers.pop(key, None)
        if viewer is not None:
            self._skipped += viewer.masks_skipped
            viewer.leave()
        connection = self._connections.pop(key, None)
        if connection is not None:
            await connection.close()
        return connection is not None

    def send_mask(self, mask: MaskMessage) -> None:
        """Send a mask to everybody who draws the masks himself."""
        for viewer in self._viewers.values():
            viewer.send_mask(mask)

    def stamp_of(self, key: str, rtp_timestamp: int) -> int | None:
        """The stamp of the frame that a connection got with this timestamp, see rtp_stamp.

        None where there is no such connection, or no picture has reached it yet.
        """
        viewer = self._viewers.get(key)
        return None if viewer is None else viewer.stamp_of(rtp_timestamp)

    async def close(self) -> None:
        """Close every connection; may be called twice."""
        await asyncio.gather(*(self.hang_up(key) for key in list(self._connections)))
        await asyncio.gather(*self._closing)

    async def _negotiate(
        self, key: str, connection: RTCPeerConnection, offer: RTCSessionDescription, view: str
    ) -> str:
        await connection.setRemoteDescription(offer)
        wanted = [t for t in connection.getTransceivers() if t.kind == "video"]
        if not wanted:
            raise OfferError("expected an offer to receive video, it has no video section")
        viewer = self._viewers[key] = Viewer(connection, self._renditions[view])
        for one in connection.getTransceivers():  # what nobody reads would pile up
            one.direction = "sendonly" if one is wanted[0] else "inactive"
        when_gone(connection, self._connect_s, lambda: self._gone(key))

        @connection.on("datachannel")
        def opened(channel: Any) -> None:
            if channel.label == MASKS and view == self._masks_in:
                viewer.masks = channel

        prefer_vp8(wanted[0])
        show_at_once(wanted[0], offer.sdp)
        await connection.setLocalDescription(await connection.createAnswer())
        return str(connection.localDescription.sdp)

    def _gone(self, key: str) -> None:
        task = asyncio.ensure_future(self.hang_up(key))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

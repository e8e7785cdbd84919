"""Viewers' peer connections: offer in, answer out, closed when either side is gone."""

from __future__ import annotations

import asyncio
import logging

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from streaming.encoding import prefer_vp8, set_bitrates
from streaming.errors import StreamingError
from streaming.slot import Broadcast
from streaming.webrtc import Picture, PictureTrack

log = logging.getLogger(__name__)

CONNECT_S = 15.0  # an answered offer that does not connect gives its place back after this


class OfferError(StreamingError):
    """An offer cannot be answered."""


class Peers:
    """The peer connections of one session, at most as many as the broadcast admits."""

    def __init__(self, broadcast: Broadcast[Picture], *, connect_s: float = CONNECT_S) -> None:
        set_bitrates()
        self._broadcast, self._connect_s = broadcast, connect_s
        self._connections: set[RTCPeerConnection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Connections now."""
        return len(self._connections)

    async def answer(self, sdp: str) -> str:
        """Answer an offer that wants to receive video. Raises OfferError."""
        try:
            offer = RTCSessionDescription(sdp=_without_mdns(sdp), type="offer")
        except ValueError as error:
            raise OfferError(f"expected an SDP offer ({error})") from error
        # An empty list: with None, aiortc would ask a public STUN server.
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.add(connection)
        try:
            return await self._negotiate(connection, offer)
        except OfferError:
            await self._drop(connection)
            raise
        except (ValueError, KeyError, IndexError, AttributeError, AssertionError) as error:
            await self._drop(connection)
            raise OfferError("expected an SDP offer that WebRTC can answer") from error

    async def _negotiate(self, connection: RTCPeerConnection, offer: RTCSessionDescription) -> str:
        await connection.setRemoteDescription(offer)
        wanted = [t for t in connection.getTransceivers() if t.kind == "video"]
        if not wanted:
            raise OfferError("expected an offer to receive video, it has no video section")
        slot = self._broadcast.subscribe()

        def leave() -> None:
            never_came.cancel()
            self._broadcast.unsubscribe(slot)
            task = asyncio.ensure_future(self._drop(connection))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

        # ICE waits without end for a viewer that vanished after its offer.
        never_came = asyncio.get_running_loop().call_later(self._connect_s, leave)

        @connection.on("connectionstatechange")
        def changed() -> None:
            if connection.connectionState == "connected":
                never_came.cancel()
            elif connection.connectionState in ("failed", "closed", "disconnected"):
                leave()

        try:
            connection.addTrack(PictureTrack(slot))
            prefer_vp8(wanted[0])
            await connection.setLocalDescription(await connection.createAnswer())
        except BaseException:
            never_came.cancel()
            self._broadcast.unsubscribe(slot)
            raise
        return str(connection.localDescription.sdp)

    async def _drop(self, connection: RTCPeerConnection) -> None:
        self._connections.discard(connection)
        await connection.close()

    async def close(self) -> None:
        """Close every connection; may be called twice."""
        self._broadcast.close()
        await asyncio.gather(*(self._drop(c) for c in list(self._connections)))
        await asyncio.gather(*self._closing)


def _without_mdns(sdp: str) -> str:
    """Browsers hide their addresses behind .local names. Resolving them would be a multicast on
    the hospital's network; the browser reaches us first, and its address is learnt from that.
    """
    lines = sdp.splitlines(keepends=True)
    return "".join(x for x in lines if not (x.startswith("a=candidate:") and ".local " in x))

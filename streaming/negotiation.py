"""What every peer connection of ours begins with: an offer read, a connection that asks nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidStateError, OperationError

from streaming.errors import StreamingError

CONNECT_S = 15.0  # an answered offer that does not connect gives its place back after this

# aiortc parses what it is given without checking it first
REFUSALS = (
    ValueError, KeyError, IndexError, AttributeError, AssertionError,
    InternalError, InvalidStateError, OperationError,
)  # fmt: skip


class OfferError(StreamingError):
    """An offer cannot be answered."""


@dataclass(frozen=True)
class SdpAnswer:
    """Our side of a new connection. id: for hang_up"""

    sdp: str
    id: str


def read_offer(sdp: str) -> RTCSessionDescription:
    """A session description from text. Raises OfferError."""
    try:
        return RTCSessionDescription(sdp=_without_mdns(sdp), type="offer")
    except ValueError as error:
        raise OfferError(f"expected an SDP offer ({error})") from error


def new_connection() -> RTCPeerConnection:
    """Asks nobody for its address: with None, aiortc would use a public STUN server."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


@contextmanager
def refusing() -> Iterator[None]:
    """What aiortc raises on an offer that it cannot make sense of, as OfferError."""
    try:
        yield
    except REFUSALS as error:
        raise OfferError("expected an SDP offer that WebRTC can answer") from error


def when_gone(connection: RTCPeerConnection, connect_s: float, leave: Callable[[], object]) -> None:
    """Call `leave` when the other side is gone, or did not come within connect_s."""
    # ICE waits without end for a viewer that vanished after its offer.
    never_came = asyncio.get_running_loop().call_later(connect_s, leave)

    @connection.on("connectionstatechange")
    def changed() -> None:
        if connection.connectionState in ("connected", "failed", "closed", "disconnected"):
            never_came.cancel()
        if connection.connectionState in ("failed", "closed", "disconnected"):
            leave()


def _without_mdns(sdp: str) -> str:
    """Browsers hide their addresses behind .local names. Resolving them would be a multicast on
    the hospital's network; the browser reaches us first, and its address is learnt from that.
    """
    lines = sdp.splitlines(keepends=True)
    return "".join(x for x in lines if not (x.startswith("a=candidate:") and ".local " in x))

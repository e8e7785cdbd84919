"""A viewer of one session over real WebRTC, as benchmarks and tests need him.

He can release a frame on its marker bit, as browsers do, or wait for the next one, as stock aiortc
does; and lose a share of what comes, as a radio link does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

from streaming.peers import MASKS
from streaming.receiving import release_on_marker

AskAnswer = Callable[[str], Awaitable[str]]  # an SDP offer -> the SDP answer


@dataclass(frozen=True)
class ViewerConfig:
    """marker: release a frame on its marker bit; loss: share of the packets that get lost"""

    marker: bool = True
    loss: float = 0.0
    seed: int = 0


class WireTime:
    """In place of aiortc's mapper, which lets every stream begin at zero: what was on the wire."""

    def map(self, timestamp: int) -> int:
        """The timestamp itself."""
        return timestamp


@contextlib.asynccontextmanager
async def watching(
    ask: AskAnswer,
    on_frame: Callable[[VideoFrame], None],
    on_mask: Callable[[bytes], None] = lambda _: None,
    config: ViewerConfig | None = None,
) -> AsyncIterator[None]:
    """Watch while the context is open.

    on_frame: gets every decoded frame, its pts is the RTP timestamp of the wire
    on_mask: gets every message of the data channel for masks
    """
    config = config or ViewerConfig()
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = peer.addTransceiver("video", direction="recvonly").receiver
    setattr(receiver, "_RTCRtpReceiver__timestamp_mapper", WireTime())  # noqa: B010
    if config.marker:
        release_on_marker(receiver)
    channel = peer.createDataChannel(MASKS, ordered=False, maxRetransmits=0)
    channel.on("message", on_mask)
    pulling: asyncio.Task[None] | None = None
    try:
        await peer.setLocalDescription(await peer.createOffer())
        answer = await ask(peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        pulling = asyncio.create_task(_pull(receiver, on_frame, config))
        yield
    finally:
        await peer.close()
        if pulling is not None:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)


async def _pull(
    receiver: RTCRtpReceiver, on_frame: Callable[[VideoFrame], None], config: ViewerConfig
) -> None:
    losing = not config.loss
    with contextlib.suppress(MediaStreamError):  # the track ends with the connection
        while True:
            frame = await receiver.track.recv()
            assert isinstance(frame, VideoFrame)
            on_frame(frame)
            if not losing:  # from the first picture on: the handshake is not what is tested
                lose_packets(receiver.transport.transport, config)
                losing = True


def lose_sent(connection: RTCPeerConnection, config: ViewerConfig) -> None:
    """Let a connection lose a share of the datagrams that it sends once it is made."""
    transport = connection.getTransceivers()[0].sender.transport
    ice, dice = transport.transport, random.Random(config.seed)
    send = ice._send

    async def lossy(data: bytes) -> None:
        if transport.state != "connected" or dice.random() >= config.loss:
            await send(data)

    setattr(ice, "_send", lossy)  # noqa: B010 (mypy: a method is replaced)


def lose_packets(transport: Any, config: ViewerConfig) -> None:
    """Let an ICE transport lose a share of the datagrams that come, media and masks alike."""
    receive, dice = transport._recv, random.Random(config.seed)

    async def lossy() -> bytes:
        data: bytes = await receive()
        while dice.random() < config.loss:
            data = await receive()
        return data

    transport._recv = lossy

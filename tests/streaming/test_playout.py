"""Browsers are asked to show each picture at once, where they know the word for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket, unpack_header_extensions

from streaming.frame import UInt8Array
from streaming.peers import Peers
from streaming.playout import URI
from streaming.rendition import Picture, Rendition
from tests.support.clips import picture

PATIENCE_S = 20


def offering(sdp: str, number: int | None) -> str:
    """The offer with the extension under this number, in its video section."""
    line = f"a=extmap:{number} {URI}\r\n" if number else ""
    return sdp.replace("a=rtcp-mux\r\n", f"a=rtcp-mux\r\n{line}", 1)


def raw(number: int) -> Callable[[], UInt8Array]:
    return lambda: picture(number, (64, 96))


@pytest.mark.parametrize("number", [7, 20, None])
async def test_every_packet_says_that_it_is_to_be_shown_at_once(number: int | None) -> None:
    """Under the number that the viewer chose; 20 is one that the short form cannot write."""
    rendition = Rendition("overlay", lambda _: None)
    peers = Peers({"overlay": rendition}, limit=1)
    viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    packets: list[bytes] = []
    receiver = viewer.addTransceiver("video", direction="recvonly").receiver
    await viewer.setLocalDescription(await viewer.createOffer())
    answer = (await peers.answer(offering(viewer.localDescription.sdp, number))).sdp
    assert (URI in answer) == (number == 7), "what was not offered is not answered"
    transport: Any = receiver.transport
    handle = transport._handle_rtp_data

    async def keep(data: bytes, arrival_time_ms: int) -> None:
        packets.append(data)
        await handle(data, arrival_time_ms)

    transport._handle_rtp_data = keep
    await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    try:
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while len(packets) < 3:
            assert asyncio.get_running_loop().time() < end
            rendition.show(Picture(raw(len(packets)), 40_000_000 * len(packets), len(packets)))
            await asyncio.sleep(0.04)
    finally:
        await viewer.close()
        await peers.close()
        await rendition.close()
    for data in packets:
        assert RtpPacket.parse(data).payload, "still a sound packet"
        assert extensions(data).get(number or 0) == (bytes(3) if number == 7 else None)


def extensions(data: bytes) -> dict[int, bytes]:
    """Of a packet, by number; they follow its twelve bytes of header."""
    form, length = int.from_bytes(data[12:14], "big"), int.from_bytes(data[14:16], "big") * 4
    return dict(unpack_header_extensions(form, data[16 : 16 + length]))

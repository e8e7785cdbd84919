"""Asks browsers to show each picture as soon as it is decoded.

They otherwise smooth: a picture waits for the time at which it would come evenly. Ours carry the
time of their capture, and the model takes now longer, now shorter, which to a browser is jitter
of the network, to be waited for. The RTP header extension `playout-delay` (of WebRTC's own code,
understood by Chromium and all that is made of it) with 0 to 0 ms says that interactivity is all
that counts. aiortc 1.16 does not know it: two of its undocumented places are used here, and a test
holds them against what a viewer gets.
"""

from __future__ import annotations

import re

from aiortc import RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensions, HeaderExtensionsMap

URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
AT_ONCE = bytes(3)  # twelve bits each: at least and at most 0 times 10 ms
ONE_BYTE = 0xBEDE  # the short form of extensions, RFC 8285, that every browser offers
LARGEST_ID = 14  # in that form


def show_at_once(transceiver: RTCRtpTransceiver, offer: str) -> None:
    """Let what this transceiver sends say so, where the offer knows how it is said.

    To be called between reading the offer and answering it.
    """
    found = re.search(rf"^a=extmap:(\d+)(?:/\w+)? {re.escape(URI)}\s*$", offer, re.MULTILINE)
    if found is None or not 1 <= int(found[1]) <= LARGEST_ID:
        return
    extension = RTCRtpHeaderExtensionParameters(id=int(found[1]), uri=URI)
    transceiver._headerExtensions.append(extension)
    _write_with(transceiver.sender, _AtOnce())


def _write_with(sender: RTCRtpSender, extensions: HeaderExtensionsMap) -> None:
    setattr(sender, "_RTCRtpSender__rtp_header_extensions_map", extensions)  # noqa: B010


class _AtOnce(HeaderExtensionsMap):
    """What aiortc writes, and after it the wish, in every packet."""

    def __init__(self) -> None:
        super().__init__()
        self._id: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        """Note under which numbers the extensions go."""
        super().configure(parameters)
        ids = [one.id for one in parameters.headerExtensions if one.uri == URI]
        self._id = ids[0] if ids else None

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        """The form of the extensions, and their bytes."""
        form, written = super().set(values)
        if self._id is None or (written and form != ONE_BYTE):
            return form, written
        return ONE_BYTE, written + bytes([self._id << 4 | len(AT_ONCE) - 1]) + AT_ONCE

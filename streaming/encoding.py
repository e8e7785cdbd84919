"""The one place for codec and bitrate."""

from __future__ import annotations

import aiortc.codecs.vpx as vpx
from aiortc import RTCRtpSender, RTCRtpTransceiver

# aiortc's limits are module constants made for webcams; tissue and an overlay's contours need more:
# at 1080p, 2.5 Mb/s gave 37.7 dB against the picture sent, 5 Mb/s 40.0 dB for 5 ms more encoding.
START_BITRATE, LOWEST_BITRATE, HIGHEST_BITRATE = 5_000_000, 500_000, 10_000_000


def set_bitrates() -> None:
    """Raise aiortc's limits; before the first peer connection."""
    vpx.DEFAULT_BITRATE = START_BITRATE
    vpx.MIN_BITRATE = LOWEST_BITRATE
    vpx.MAX_BITRATE = HIGHEST_BITRATE


def prefer_vp8(transceiver: RTCRtpTransceiver) -> None:
    """VP8: every browser decodes it, and no level caps the picture's size."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    chosen = [c for c in codecs if c.mimeType.lower() in ("video/vp8", "video/rtx")]
    transceiver.setCodecPreferences(chosen)

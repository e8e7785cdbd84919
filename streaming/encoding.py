"""The one place for codec, bitrate and the clock of what goes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.video.codeccontext
import cv2
import numpy as np
from aiortc import RTCRtpSender, RTCRtpTransceiver
from av.video.frame import PictureType

from streaming.errors import SinkError
from streaming.frame import UInt8Array

CLOCK = 90_000  # ticks a second of an RTP video timestamp

# 2.5 Mb/s show 640x480 at 45 dB against the picture sent; larger pictures need less a pixel.
BITRATE_VGA, LOWEST_BITRATE, HIGHEST_BITRATE = 2_500_000, 1_000_000, 8_000_000
VGA_PIXELS = 640 * 480


@dataclass(frozen=True)
class Encoded:
    """One encoded picture, shared by every viewer.

    stamp: of its capture, see rtp_stamp; index: number of its frame in the source
    """

    data: bytes = field(repr=False)
    keyframe: bool
    stamp: int
    index: int


def rtp_stamp(captured_ns: int) -> int:
    """The capture's moment in ticks of CLOCK; a receiver sees it modulo 2^32, from an origin of
    its own.
    """
    return captured_ns * CLOCK // 1_000_000_000


def i420_planes(image_rgb: UInt8Array) -> UInt8Array:
    """RGB -> I420, cropped to even sides. (H, W, 3) -> (H * 3 / 2, W) uint8"""
    height, width = image_rgb.shape[0] // 2 * 2, image_rgb.shape[1] // 2 * 2
    even = np.ascontiguousarray(image_rgb[:height, :width])
    return np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)


def bitrate(pixels: int) -> int:
    """Bits a second for a picture of so many pixels."""
    wanted = BITRATE_VGA * (pixels / VGA_PIXELS) ** 0.5
    return int(min(HIGHEST_BITRATE, max(LOWEST_BITRATE, wanted)))


class Vp8Encoder:
    """VP8 without delay: a picture in, its bytes out. Adapts to a new size with a keyframe.

    One thread: libvpx's threads spin for each other, and with both of two cores busy a picture of
    640x480 took 117 ms with two threads, 3 ms with one.
    """

    def __init__(self) -> None:
        self._codec: av.video.codeccontext.VideoCodecContext | None = None
        self._last_stamp: int | None = None

    def encode(self, planes_yuv: UInt8Array, stamp: int, index: int, *, keyframe: bool) -> Encoded:
        """Encode I420 planes, (H * 3 / 2, W) uint8. Raises SinkError: it gave no packet."""
        picture = av.VideoFrame.from_ndarray(planes_yuv, format="yuv420p")
        picture.pts, picture.time_base = stamp, Fraction(1, CLOCK)
        picture.duration = self._since_last(stamp)
        codec = self._codec
        if codec is None or (codec.width, codec.height) != (picture.width, picture.height):
            codec = self._codec = self._open(picture.width, picture.height)
        if keyframe:
            picture.pict_type = PictureType.I
        packets = codec.encode(picture)
        if len(packets) != 1:
            raise SinkError(f"expected one packet for a picture, the encoder gave {len(packets)}")
        return Encoded(bytes(packets[0]), packets[0].is_keyframe, stamp, index)

    def _since_last(self, stamp: int) -> int:
        """Ticks since the last picture: what the rate control takes for the frame rate."""
        since = CLOCK // 25 if self._last_stamp is None else stamp - self._last_stamp
        self._last_stamp = stamp
        return min(CLOCK, max(CLOCK // 120, since))

    def _open(self, width: int, height: int) -> av.video.codeccontext.VideoCodecContext:
        codec = av.CodecContext.create("libvpx", "w")
        assert isinstance(codec, av.video.codeccontext.VideoCodecContext)
        rate = bitrate(width * height)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, CLOCK), Fraction(25)
        codec.bit_rate, codec.qmin, codec.qmax, codec.thread_count = rate, 4, 60, 1
        codec.gop_size = 10**6  # keyframes come when a viewer needs one
        codec.options = {
            "deadline": "realtime",
            "cpu-used": "-10",
            "lag-in-frames": "0",
            "error-resilient": "1",
            "minrate": str(rate),  # all three the same: a constant bitrate
            "maxrate": str(rate),
            "bufsize": str(rate // 2),
            "max-intra-rate": "600",  # percent of a frame's share; a keyframe must not be a burst
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "static-thresh": "1",
        }
        return codec


def prefer_vp8(transceiver: RTCRtpTransceiver) -> None:
    """VP8: every browser decodes it, and no level caps the picture's size."""
    codecs = RTCRtpSender.getCapabilities("video").codecs
    chosen = [c for c in codecs if c.mimeType.lower() in ("video/vp8", "video/rtx")]
    transceiver.setCodecPreferences(chosen)

"""The measure behind the demo's check: it must find what is drawn, and flatter nobody."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from models.method.profile import load_profile
from models.types import UInt8Array
from service.live.phantom_source import PhantomScenes, PhantomUrl
from streaming.overlay import OverlayStyle, draw_overlay, parse_color
from tests.support.tint import iou, tinted


class Vp8:
    """Through the codec and back, at the rate the service starts with."""

    def __init__(self) -> None:
        self._encoder = av.CodecContext.create("libvpx", "w")
        self._encoder.width, self._encoder.height = 640, 480
        self._encoder.pix_fmt, self._encoder.bit_rate = "yuv420p", 2_500_000
        self._encoder.time_base = Fraction(1, 25)
        self._encoder.options = {"deadline": "realtime", "cpu-used": "8"}
        self._decoder = av.CodecContext.create("vp8", "r")
        self._number = 0

    def __call__(self, image: UInt8Array) -> UInt8Array:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, self._number = self._number, self._number + 1
        (packet,) = self._encoder.encode(frame)
        (decoded,) = self._decoder.decode(packet)
        return np.asarray(decoded.to_ndarray(format="rgb24"), dtype=np.uint8)


@pytest.mark.parametrize("drawn", ["the truth", "the truth moved by 12 px", "nothing"])
def test_what_is_read_from_the_pixels_is_what_was_drawn(drawn: str) -> None:
    """Within 0.05 for a wrong mask; a perfect one loses its edges to the codec."""
    scenes, classes, codec = PhantomScenes(PhantomUrl()), load_profile("phantom").classes, Vp8()
    palette = {spec.class_id: parse_color(spec.color) for spec in classes}
    style = OverlayStyle(names={spec.class_id: spec.name for spec in classes})
    expected, found = [], []
    for number in range(0, 400, 40):
        frame = scenes.frame(number)
        mask = frame.class_mask
        if drawn == "nothing":
            mask = np.zeros_like(mask)
        elif drawn != "the truth":
            mask = np.roll(mask, 12, axis=1)
        shown = codec(draw_overlay(frame.image_rgb, mask, palette, style))
        truth = frame.class_mask > 0
        expected.append(iou(mask > 0, truth))
        found.append(iou(tinted(shown, frame.image_rgb, classes), truth))
    if drawn == "the truth":
        assert np.mean(found) > 0.85
    else:
        assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.05)

"""From a decoder's picture to RGB: by which matrix and range, and whether the stream said so.

What a stream leaves unsaid is taken as every player takes it: HD is BT.709, SD is BT.601, both of
limited range. The arithmetic is libswscale's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streaming.frame import UInt8Array

SD_HEIGHT, SD_WIDTH = 576, 1024  # past either, a picture that says nothing is HD
UNSPECIFIED = 2
# Numbers of ITU-T H.273, which FFmpeg uses. Its other matrices are not libswscale's: not honoured.
MATRICES = {
    1: ("BT.709", Colorspace.ITU709),
    4: ("FCC", Colorspace.FCC),
    5: ("BT.601", Colorspace.ITU601),
    6: ("BT.601", Colorspace.ITU601),
    7: ("SMPTE 240M", Colorspace.SMPTE240M),
    9: ("BT.2020", Colorspace.BT2020),
    10: ("BT.2020", Colorspace.BT2020),
}
HDR = {16: "PQ", 18: "HLG"}  # shown without tone mapping: paler than on an HDR screen
SAME = "RGB"  # no matrix at all


@dataclass(frozen=True)
class Colour:
    """How the numbers of a picture were taken. assumed: what of it the stream did not say

    matrix: "BT.709", "BT.601", ...; range: "limited" or "full"
    hdr_without_tone_mapping: "PQ" or "HLG", whose brightness is not mapped to a usual screen's
    """

    matrix: str
    range: str
    assumed: tuple[str, ...] = ()
    hdr_without_tone_mapping: str | None = None

    def status(self) -> dict[str, Any]:
        """For reports and the live status."""
        stated = {"matrix": self.matrix, "range": self.range, "assumed": list(self.assumed)}
        hdr = self.hdr_without_tone_mapping
        return stated if hdr is None else stated | {"hdr_without_tone_mapping": hdr}


class ToRgb:
    """Turns pictures into (H, W, 3) uint8 RGB. colour: of the last one, None before the first"""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._key: tuple[object, ...] | None = None
        self._source: dict[str, Any] = {}
        self.colour: Colour | None = None

    def __call__(self, picture: av.VideoFrame) -> UInt8Array:
        """Of the picture's own size, as it is stored: not turned upright."""
        key = (
            picture.format.name, picture.width, picture.height, picture.colorspace,
            picture.color_range, picture.color_trc,
        )  # fmt: skip
        if key != self._key:
            self._key = key
            self.colour, self._source = _taken(picture)
        rgb = self._reformatter.reformat(
            picture,
            format="rgb24",
            interpolation=Interpolation.BICUBIC,  # as ffmpeg: of colour stored more coarsely
            dst_color_range=ColorRange.JPEG,
            **self._source,
        )
        return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def _taken(picture: av.VideoFrame) -> tuple[Colour, dict[str, Any]]:
    """What a picture is taken for, and how libswscale is told."""
    hdr = HDR.get(int(picture.color_trc))
    if picture.format.is_rgb or picture.format.has_palette:
        return Colour(SAME, "full", hdr_without_tone_mapping=hdr), {}
    named, matrix = MATRICES.get(int(picture.colorspace), ("", Colorspace.DEFAULT))
    assumed = [] if named else ["matrix"]
    if not named:
        hd = picture.height > SD_HEIGHT or picture.width > SD_WIDTH
        named, matrix = MATRICES[1 if hd else 6]
    full = picture.format.name.startswith("yuvj") or picture.color_range == ColorRange.JPEG
    if picture.color_range not in (ColorRange.MPEG, ColorRange.JPEG) and not full:
        assumed.append("range")
        full = picture.format.name.startswith("gray")  # as libswscale takes grey
    colour = Colour(named, "full" if full else "limited", tuple(assumed), hdr)
    range_ = ColorRange.JPEG if full else ColorRange.MPEG
    return colour, {"src_colorspace": matrix, "src_color_range": range_}

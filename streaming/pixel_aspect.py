"""Pixels that are not square, as of standard-definition cameras and tapes."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np

from streaming.frame import UInt8Array

SQUARE = Fraction(1)
MOST = 4  # wider or narrower than this is no camera's, but a header that is off


def pixel_aspect(stream: av.video.stream.VideoStream) -> Fraction:
    """Width of a pixel over its height, as the stream states it; square if it does not."""
    stated = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or SQUARE
    return stated if Fraction(1, MOST) <= stated <= MOST else SQUARE


def with_square_pixels(image_rgb: UInt8Array, aspect: Fraction) -> UInt8Array:
    """(H, W, 3) uint8 -> the same picture for a screen: made wider, or higher, never smaller.

    aspect: of its pixels, width over height
    """
    if aspect == SQUARE:
        return image_rgb
    height, width = image_rgb.shape[:2]
    size = (round(width * max(aspect, SQUARE)), round(height / min(aspect, SQUARE)))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)

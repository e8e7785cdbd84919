"""How many pictures a second a stream has, where what it says of itself can be believed."""

from __future__ import annotations

from fractions import Fraction

import av.video.stream

HIGHEST = 240  # a second; a stream that states more states the unit of its clock
USUAL = Fraction(25)  # where nothing can be believed


def frame_rate(stream: av.video.stream.VideoStream) -> Fraction:
    """The average that a stream states, else FFmpeg's guess from its first pictures, else USUAL."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= HIGHEST:
            return Fraction(rate)
    return USUAL

"""What a session's pictures look like; each is drawn later, in the thread that encodes it."""

from __future__ import annotations

from collections.abc import Callable

from models.types import ClassSpec, Segmentation, UInt8Array
from service.appearance import named_style, palette_of
from service.live.badge import BADGE_COLORS, Badge
from streaming.frame import Frame
from streaming.mark import draw_mark
from streaming.overlay import draw_badge, draw_overlay
from streaming.rendition import Picture

WHITE = (240, 240, 240)


class Composer:
    """Makes pictures of frames. mark: with the frame's number in a corner, for measurements."""

    def __init__(self, classes: Callable[[], tuple[ClassSpec, ...]], *, mark: bool) -> None:
        self._classes, self._mark = classes, mark

    def untouched(self, frame: Frame) -> Picture:
        """The frame as it came."""
        image = frame.image_rgb
        return self._picture(frame, image.copy if self._mark else lambda: image)

    def masked(self, frame: Frame, result: Segmentation) -> Picture:
        """The frame under its own masks."""

        def draw() -> UInt8Array:
            classes = self._classes()
            palette, style = palette_of(classes), named_style(classes)
            return draw_overlay(frame.image_rgb, result.class_map, palette, style)

        return self._picture(frame, draw)

    def badged(self, frame: Frame, badge: Badge) -> Picture:
        """The frame without masks, under a badge that says why."""

        def draw() -> UInt8Array:
            image = frame.image_rgb.copy()
            draw_badge(image, badge.value, BADGE_COLORS.get(badge, WHITE))
            return image

        return self._picture(frame, draw)

    def _picture(self, frame: Frame, draw: Callable[[], UInt8Array]) -> Picture:
        def marked() -> UInt8Array:
            image = draw()
            draw_mark(image, frame.index)
            return image

        return Picture(marked if self._mark else draw, frame.captured_ns, frame.index)

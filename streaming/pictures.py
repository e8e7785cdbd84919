"""What a decoder gives, made into what the rest takes: whole pictures, RGB, and how it was done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic

import av

from streaming.colour import Colour, ToRgb
from streaming.deinterlace import Deinterlacer, Look, Mode, Tag
from streaming.frame import UInt8Array


@dataclass(frozen=True)
class TakenAs:
    """How a stream's pictures were understood.

    colour: None before the first one; deinterlaced: "tagged", "found" or "asked"; None: they are
    whole as they come
    """

    colour: Colour | None = None
    deinterlaced: str | None = None

    def status(self) -> dict[str, Any]:
        """For reports and the live status."""
        colour = None if self.colour is None else self.colour.status()
        return {"colour": colour, "deinterlaced": self.deinterlaced}


class Pictures(Generic[Tag]):
    """Deinterlaces where it is needed and turns into RGB; each picture keeps its tag."""

    def __init__(self, deinterlace: Mode = "auto", look: Look | None = None) -> None:
        self._fields: Deinterlacer[Tag] = Deinterlacer(deinterlace, look)
        self._to_rgb = ToRgb()

    def taken_as(self) -> TakenAs:
        """Of the pictures so far."""
        return TakenAs(self._to_rgb.colour, self._fields.why)

    def pass_on(self, picture: av.VideoFrame, tag: Tag) -> Iterator[tuple[UInt8Array, Tag]]:
        """What is ready after this picture: (H, W, 3) uint8 RGB as it is stored, and its tag."""
        return self._rgb(self._fields.pass_on(picture, tag))

    def rest(self) -> Iterator[tuple[UInt8Array, Tag]]:
        """What is still held, at the end."""
        return self._rgb(self._fields.rest())

    def _rgb(self, whole: Iterable[tuple[av.VideoFrame, Tag]]) -> Iterator[tuple[UInt8Array, Tag]]:
        for picture, tag in whole:
            yield self._to_rgb(picture), tag

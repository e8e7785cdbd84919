"""Interlaced pictures made whole: each of their two fields was taken at a moment of its own.

libavfilter does it: idet looks whether a picture is interlaced that does not say so, bwdif makes
one picture of each, at the time of its first field. bwdif looks at the picture that comes next, so
it hands out each one picture late; what is not interlaced is never held back.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Generic, Literal, TypeVar

import av
import av.filter

Tag = TypeVar("Tag")
Mode = Literal["auto", "on", "off"]
MODES: tuple[Mode, ...] = ("auto", "on", "off")
HEIGHTS = (480, 486, 512, 576, 608, 1080, 1088)  # of pictures that have ever been interlaced
LOOK_AT = 150  # pictures, until it is known whether they are interlaced
ENOUGH, FEWEST = 40, 12  # of them that tell; where so many do not, so few must
SURE = 0.9  # share of them with the same field first; a test pattern fools idet for a second


class Look:
    """Are pictures interlaced that do not say so? found: "tff", "bff" or None as long as not"""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._seen: Counter[str] = Counter()
        self._looked = 0
        self.over = False
        self.found: Literal["tff", "bff"] | None = None

    def at(self, picture: av.VideoFrame) -> None:
        """Look at one more; nothing is done once it is known."""
        if picture.height not in HEIGHTS:
            self.over = True
        if self.over:
            return
        if self._graph is None:
            self._graph = _graph(picture, "idet")
        self._looked += 1
        self._graph.vpush(picture)
        self._count(self._graph)
        if self._telling >= ENOUGH or self._looked >= LOOK_AT:
            self.decide()

    def decide(self) -> None:
        """Nothing more can be looked at."""
        if self.over:
            return
        self.over = True
        first: Literal["tff", "bff"] = "tff" if self._seen["tff"] > self._seen["bff"] else "bff"
        if self._telling >= FEWEST and self._seen[first] >= SURE * self._telling:
            self.found = first

    @property
    def _telling(self) -> int:
        return self._seen["tff"] + self._seen["bff"] + self._seen["progressive"]

    def _count(self, graph: av.filter.Graph) -> None:
        for seen in _ready(graph):
            self._seen[str(seen.metadata.get("lavfi.idet.single.current_frame"))] += 1


class Deinterlacer(Generic[Tag]):
    """Passes pictures on, whole ones as they are; each keeps its tag.

    why: "tagged", "found" (by looking) or "asked" once pictures are deinterlaced, else None
    """

    def __init__(self, mode: Mode = "auto", look: Look | None = None) -> None:
        """look: one that was had before, so that the first picture is treated as the last"""
        self._mode = mode
        self._look = look or Look()
        self._graph: av.filter.Graph | None = None
        self._form: tuple[object, ...] = ()
        self._held: deque[Tag] = deque()
        self.why: str | None = None

    def pass_on(self, picture: av.VideoFrame, tag: Tag) -> Iterator[tuple[av.VideoFrame, Tag]]:
        """What is ready after this picture."""
        if self._mode != "off":
            self._note(picture)
        if self.why is None:
            yield picture, tag
            return
        form = (picture.format.name, picture.width, picture.height, picture.time_base, self.why)
        if form != self._form:
            yield from self.rest()
            self._graph, self._form = _graph(picture, "bwdif", self._settings()), form
        assert self._graph is not None
        self._held.append(tag)
        self._graph.vpush(picture)
        yield from self._tagged(_ready(self._graph))

    def rest(self) -> Iterator[tuple[av.VideoFrame, Tag]]:
        """What is still held, at the end."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._tagged(_ready(self._graph))
        self._graph, self._form = None, ()
        self._held.clear()

    def _note(self, picture: av.VideoFrame) -> None:
        if self._mode == "on":
            self._look.at(picture)
            self.why = "asked"
        elif self.why is None and picture.interlaced_frame:
            self.why = "tagged"
        elif self.why is None:
            self._look.at(picture)
            self.why = "found" if self._look.found else None

    def _settings(self) -> str:
        deint = "interlaced" if self.why == "tagged" else "all"
        parity = self._look.found or "auto"
        return f"mode=send_frame:parity={'auto' if self.why == 'tagged' else parity}:deint={deint}"

    def _tagged(self, ready: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Tag]]:
        for picture in ready:
            yield picture, self._held.popleft()


def _graph(picture: av.VideoFrame, name: str, settings: str | None = None) -> av.filter.Graph:
    """Pictures like this one -> the filter -> pictures."""
    graph = av.filter.Graph()
    source = graph.add(
        "buffer",
        video_size=f"{picture.width}x{picture.height}",
        pix_fmt=picture.format.name,
        time_base=str(picture.time_base or "1/1000"),
        colorspace=str(int(picture.colorspace)),
        range=str(int(picture.color_range)),
    )
    graph.link_nodes(source, graph.add(name, settings), graph.add("buffersink")).configure()
    return graph


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            picture = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(picture, av.VideoFrame)
        yield picture

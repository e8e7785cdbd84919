"""phantom://?seed=7&size=640x480&fps=25&mark=1 : the procedural laparoscope as a live source."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import parse_qs

import cv2
import numpy as np

from models.phantom import DEMO_SEED, Clip, PhantomFrame, Procedure
from models.types import UInt8Array
from streaming.errors import SourceError
from streaming.mark import MARK_WIDTH
from streaming.sources import RenderedSource, split_url

SCENE_S = 20.0  # a clip's length; then the next one
FIRST_CLIP = 100  # the profile `phantom` was fitted on clips below
PATTERNS = {
    "seed": re.compile(r"[0-9]{1,18}"),
    "size": re.compile(r"[0-9]{1,5}x[0-9]{1,5}"),
    "fps": re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}|/[1-9][0-9]{0,4})?"),
    "mark": re.compile(r"[01]"),
}


@dataclass(frozen=True)
class PhantomUrl:
    """A phantom:// URL taken apart. size: (height, width)"""

    seed: int = DEMO_SEED
    size: tuple[int, int] = (480, 640)
    fps: Fraction = Fraction(25)
    mark: bool = False

    @classmethod
    def parse(cls, url: str) -> PhantomUrl:
        """Raises SourceError naming the part that is off."""
        query = parse_qs(split_url(url).query)
        unknown = sorted(query.keys() - {"seed", "size", "fps", "mark"})
        if unknown:
            raise SourceError(f"phantom:// knows seed, size, fps and mark, got {unknown[0]}")
        given = {"seed": str(DEMO_SEED), "size": "640x480", "fps": "25", "mark": "0"}
        given |= {key: values[-1] for key, values in query.items()}
        # A pattern first: a number such as 1e999999999 would be computed for hours.
        if not all(pattern.fullmatch(given[key]) for key, pattern in PATTERNS.items()):
            raise SourceError(
                "phantom://: expected numbers as in seed=7&size=640x480&fps=25&mark=1"
            )
        width, height = (int(side) for side in given["size"].split("x"))
        parsed = cls(
            seed=int(given["seed"]),
            size=(height, width),
            fps=Fraction(given["fps"]),
            mark=given["mark"] == "1",
        )
        if not (64 <= width <= 1920 and 64 <= height <= 1920 and 1 <= parsed.fps <= 60):
            raise SourceError("phantom://: size must be 64 to 1920 a side and fps 1 to 60")
        if parsed.mark and width < MARK_WIDTH:
            raise SourceError(f"phantom://: with mark=1 size must be {MARK_WIDTH} wide or more")
        return parsed


class PhantomScenes:
    """The phantom by frame number: one procedure, a new clip every twenty seconds.

    Rendered at half the size and enlarged, so that the demo leaves the cores to the model.
    """

    def __init__(self, url: PhantomUrl) -> None:
        self.url = url
        self._procedure = Procedure(url.seed)
        self._clips: OrderedDict[int, Clip] = OrderedDict()

    def frame(self, number: int) -> PhantomFrame:
        """Picture and truth of frame `number`, at the URL's size."""
        t = number / float(self.url.fps)
        clip = self._clip(FIRST_CLIP + int(t // SCENE_S))
        small = clip.render(t % SCENE_S)
        height, width = self.url.size
        return PhantomFrame(
            _enlarge(small.image_rgb, (width, height), cv2.INTER_LINEAR),
            _enlarge(small.class_mask, (width, height), cv2.INTER_NEAREST),
            _enlarge(small.instance_mask, (width, height), cv2.INTER_NEAREST),
        )

    def image(self, number: int) -> UInt8Array:
        """The picture alone. (H, W, 3) uint8"""
        return self.frame(number).image_rgb

    def source(self) -> RenderedSource:
        """The scenes as a live source."""
        return RenderedSource(self.image, self.url.size, self.url.fps)

    def _clip(self, index: int) -> Clip:
        if index not in self._clips:
            height, width = self.url.size
            size = (max(32, height // 2), max(32, width // 2))
            self._clips[index] = self._procedure.clip(index, size=size)
            while len(self._clips) > 2:
                self._clips.popitem(last=False)
        return self._clips[index]


def _enlarge(image: UInt8Array, size: tuple[int, int], way: int) -> UInt8Array:
    return np.asarray(cv2.resize(image, size, interpolation=way), dtype=np.uint8)

"""What of a frame is computed before its turn: the network's input, and what a way needs of it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from models.backbone.image_input import to_input
from models.backbone.sam2 import Backbone
from models.engines.gpu.class_maps import page_locked
from models.engines.gpu.resize import Resize, resize_for
from models.engines.interface import Engine
from models.tracking.strategy import Strategy
from models.types import UInt8Array

KEPT_SIZES = 2  # of pictures, for which a step is recorded; a stream has one


class FramePreparer:
    """Prepares frames, on a GPU in one step recorded for the size of the picture."""

    def __init__(self, engine: Engine, backbone: Backbone) -> None:
        self._engine, self._backbone = engine, backbone
        self._recorded: dict[tuple[int, ...], Callable[..., Any]] = {}
        self._alone = threading.Lock()

    def prepare(self, engine: Engine, strategy: Strategy[Any], image_rgb: UInt8Array) -> Any:
        """way: always the same. image_rgb: (H, W, 3)

        engine: the one that it was made with, or one that times it
        """
        if not engine.own_pictures:
            return self._of_input(engine, strategy, to_input(image_rgb, engine.config.image_size))
        picture = page_locked(image_rgb).to(engine.device, non_blocking=True)
        if engine is not self._engine:
            return self._of_picture(engine, strategy, self._resize(picture), picture)
        return self._for_size(strategy, picture)(picture)

    def _for_size(self, strategy: Strategy[Any], picture: Tensor) -> Callable[..., Any]:
        """The recorded step; of other sizes than the last few nothing is kept."""
        with self._alone:
            found = self._recorded.get(picture.shape)
            if found is None:
                squeeze = self._resize(picture)
                step = functools.partial(self._of_picture, self._engine, strategy, squeeze)
                found = self._engine.recorded(step, picture)
                others = list(self._recorded.items())[1 - KEPT_SIZES :]
                self._recorded = {**dict(others), picture.shape: found}
            return found

    def _resize(self, picture: Tensor) -> Resize:
        height, width = picture.shape[:2]
        return resize_for((height, width), self._engine.config.image_size, picture.device)

    def _of_picture(
        self, engine: Engine, strategy: Strategy[Any], squeeze: Resize, picture: Tensor
    ) -> Any:
        return self._of_input(engine, strategy, squeeze(picture))

    def _of_input(self, engine: Engine, strategy: Strategy[Any], square: Tensor) -> Any:
        return strategy.prepare(engine, self._backbone.normalize(square))

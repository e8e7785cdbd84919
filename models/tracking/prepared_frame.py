"""What of a frame is computed before its turn: the network's input, and what a strategy needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from models.backbone.image_input import to_input
from models.backbone.sam2 import Backbone
from models.engines.gpu.class_maps import page_locked
from models.engines.gpu.resize import resize_for
from models.engines.interface import Engine
from models.tracking.strategy import Strategy
from models.types import UInt8Array

KEPT_SIZES = 2  # of pictures, for which a step is recorded; a stream has one


class FramePreparer:
    """Prepares frames, on a GPU in one step recorded for the size of the picture."""

    def __init__(self, engine: Engine, backbone: Backbone, strategy: Strategy[Any]) -> None:
        self._engine, self._backbone, self._strategy = engine, backbone, strategy
        self._recorded: dict[tuple[int, ...], Callable[..., Any]] = {}
        self._alone = threading.Lock()

    def prepare(self, image_rgb: UInt8Array) -> Any:
        """What the strategy needs. image_rgb: (H, W, 3)"""
        if not self._engine.own_pictures:
            return self._of_input(to_input(image_rgb, self._engine.config.image_size))
        picture = page_locked(image_rgb).to(self._engine.device, non_blocking=True)
        return self._for_size(picture)(picture)

    def _for_size(self, picture: Tensor) -> Callable[..., Any]:
        """The recorded step; of other sizes than the last few nothing is kept."""
        with self._alone:
            found = self._recorded.get(picture.shape)
            if found is None:
                height, width = picture.shape[:2]
                size = self._engine.config.image_size
                resize = resize_for((height, width), size, picture.device)
                found = self._engine.recorded(lambda given: self._of_input(resize(given)), picture)
                others = list(self._recorded.items())[1 - KEPT_SIZES :]
                self._recorded = {**dict(others), picture.shape: found}
            return found

    def _of_input(self, square: Tensor) -> Any:
        return self._strategy.prepare(self._backbone.normalize(square))

"""SAM2 as published: the true mask of a sequence's first frame is the prompt, memory does the rest.

It uses none of the annotated frames and sees a test label instead, which no other method does; so
its first frames are not scored. Every answer goes into memory, sure or not. A class that is not in
the first frame can never be found. Source: Ravi et al., SAM 2 (2024).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.comparators.interface import FitSettings
from models.backbone.image_input import class_map, resize_mask, to_input
from models.backbone.memory_bank import BankShape, Entries, MemoryBank
from models.backbone.sam2 import ImageFeatures
from models.config import MemoryConfig
from models.fitting.annotated import AnnotatedFrames
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from models.types import ClassSpec, UInt8Array


def fit(
    weights: LoadedWeights,
    classes: tuple[ClassSpec, ...],
    frames: AnnotatedFrames,
    settings: FitSettings,
) -> FirstMask:
    """Nothing is fitted."""
    return FirstMask(weights.model, tuple(spec.class_id for spec in classes))


class FirstMask:
    """One row a class of the first frame, followed from there."""

    def __init__(self, model: OflSam2, class_ids: tuple[int, ...]) -> None:
        self._model, self._class_ids = model, class_ids
        self.start()

    def start(self) -> None:
        """Nothing is prompted yet."""
        self._rows: list[int] = []
        self._bank: MemoryBank | None = None
        self._frame = 0

    @torch.inference_mode()
    def prompt(self, image_rgb: UInt8Array, class_mask: UInt8Array) -> None:
        """The first frame and its truth."""
        self._rows = [one for one in self._class_ids if (class_mask == one).any()]
        self._frame = 1
        if not self._rows:
            return
        config = self._model.config.backbone
        memory = MemoryConfig(support=1)
        shape = BankShape.of(len(self._rows), memory, config)
        self._bank = MemoryBank(shape, memory.max_pointer_distance)
        masks = [
            resize_mask((class_mask == one).astype(np.uint8), config.image_size)
            for one in self._rows
        ]
        mask = torch.from_numpy(np.stack(masks)).float()[:, None]
        each = self._features(image_rgb).rows(torch.zeros(len(mask), dtype=torch.long))
        entries = self._model.annotate(each, mask)
        for row in range(len(mask)):
            first = Entries(entries.memory[row : row + 1], entries.pointer[row : row + 1])
            self._bank.set_support(row, first)

    @torch.inference_mode()
    def step(self, image_rgb: UInt8Array) -> UInt8Array:
        """Follow what was prompted."""
        if self._bank is None:
            return np.zeros(image_rgb.shape[:2], np.uint8)
        backbone = self._model.backbone
        features = self._features(image_rgb)
        attended = backbone.attend_memory(features.stride16, self._bank.tensors(self._frame))
        decoded = backbone.decode_masks(attended, features)
        logits = decoded.gated()
        memory = backbone.encode_memory(features.stride16, logits, decoded.object_logit > 0)
        self._bank.push(self._all(), Entries(memory, decoded.pointer), self._frame)
        self._frame += 1
        return class_map(logits[:, 0].numpy(), self._rows, image_rgb.shape[:2])

    def _all(self) -> Tensor:
        return torch.arange(len(self._rows))

    def _features(self, image_rgb: UInt8Array) -> ImageFeatures:
        backbone = self._model.backbone
        return backbone.encode_image(
            backbone.normalize(to_input(image_rgb, backbone.config.image_size))
        )

"""The network's functions as named runs over a number of rows: what both engines for GPUs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors
from models.backbone.sam2 import Backbone, DecodedMasks, ImageFeatures, enlarged
from models.engines.graphs import HEAD
from models.engines.interface import Found, Function, Step
from models.instances.instance_head import HeadOutput


class GpuFunctions(ABC):
    """An Engine over the graphs of graphs.py; a subclass knows how to run one.

    rows: C, of the graphs whose rows are the classes
    """

    own_threads = False
    own_pictures = True
    keeps_keys = False

    def __init__(self, backbone: Backbone, rows: int, device: torch.device) -> None:
        """backbone: its weights on the device"""
        self.config, self.device, self._rows = backbone.config, device, rows
        self._backbone = backbone

    @abstractmethod
    def _run(self, name: str, rows: int, *inputs: Tensor) -> Sequence[Tensor]:
        """Outputs of the graph of that name, for `rows` rows; the caller may keep them."""

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """See Backbone.encode_image; one image."""
        return ImageFeatures(*self._run("encode_image", self._rows, image))

    def attend_memory(self, features: Tensor, bank: BankTensors) -> Tensor:
        """See Backbone.attend_memory; a bank of K + R entries for all rows."""
        rows = (bank.memory, bank.pointer, bank.time_code, bank.distance, bank.valid)
        return self._run("attend_memory", len(bank.memory), features[:1], *rows)[0]

    def attend_own(self, features: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        """See Backbone.attend_own; features of one frame."""
        return self._run("attend_own", len(memory), features[:1], memory, pointer)[0]

    def memories_changed(self, bank: BankTensors) -> None:  # noqa: B027 - nothing to do here
        """See Engine: nothing is kept here."""

    def compiled(self, function: nn.Module, *_: Tensor) -> Function:
        """See Engine: as it is, on the device."""
        return function.to(self.device)

    def recorded(self, step: Step[Found], *_: Any) -> Step[Found]:
        """See Engine: as it is."""
        return step

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """See Backbone.decode_masks; features of one frame."""
        fine = (features.stride8, features.stride4)
        return DecodedMasks(*self._run("decode_masks", len(conditioned), conditioned, *fine))

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """See Backbone.encode_memory; features of one frame."""
        logits = enlarged(mask_logits, self.config.image_size)
        return self._run("encode_memory", len(logits), features[:1], logits, present)[0]

    def prompted_pointer(self, features: ImageFeatures, mask: Tensor) -> Tensor:
        """See Backbone.prompted_pointer; on the device."""
        half = any(one.dtype == torch.bfloat16 for one in self._backbone.parameters())
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            return self._backbone.prompted_pointer(features, mask).float()

    def see_instruments(self, image: Tensor) -> tuple[ImageFeatures, HeadOutput]:
        """See Engine; of weights that have the head."""
        features = self.encode_image(image)
        levels = (features.stride16, features.stride8, features.stride4)
        return features, HeadOutput(*self._run(HEAD, self._rows, *levels, image))

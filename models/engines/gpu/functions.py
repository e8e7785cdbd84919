"""The network's functions as named runs over a number of rows: what both engines for GPUs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.backbone.memory_attention import BankTensors
from models.backbone.sam2 import DecodedMasks, ImageFeatures, enlarged
from models.config import BackboneConfig
from models.engines.graphs import OWN, PARTING
from models.engines.interface import Found, Function, Step
from models.instances.instance_head import HeadOutput


class GpuFunctions(ABC):
    """An Engine over the graphs of graphs.py; a subclass knows how to run one.

    rows: C, of the graphs whose rows are the classes
    """

    own_threads = False
    own_pictures = True
    keeps_keys = False

    def __init__(self, config: BackboneConfig, rows: int, device: torch.device) -> None:
        self.config, self.device, self._rows = config, device, rows

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

    def attend_own(self, number: int, given: Tensor, memory: Tensor, pointer: Tensor) -> Tensor:
        """See Backbone.attend_own; features of one frame."""
        first = given[:1] if number == 0 else given
        return self._run(f"{OWN}{number}", len(memory), first, memory, pointer)[0]

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

    def embed_mask(self, mask_logits: Tensor) -> Tensor:
        """See Backbone.embed_mask."""
        logits = enlarged(mask_logits, self.config.image_size)
        return self._run("embed_mask", len(logits), logits)[0]

    def fuse_memory(self, features: Tensor, embedded: Tensor, present: Tensor) -> Tensor:
        """See Backbone.fuse_memory; features of one frame."""
        return self._run("fuse_memory", len(embedded), features[:1], embedded, present)[0]

    def see_instruments(self, image: Tensor) -> tuple[ImageFeatures, HeadOutput]:
        """See Engine; of weights that have the head."""
        features = self.encode_image(image)
        levels = (features.stride16, features.stride8, features.stride4)
        return features, HeadOutput(*self._run(PARTING, self._rows, *levels, image))

"""The four functions as named runs over a number of rows: what both engines for GPUs share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbone import BankTensors, DecodedMasks, ImageFeatures
from models.config import BackboneConfig
from models.engines.onnx_files import PARTING
from models.parting import PartedFrame


class GpuFunctions(ABC):
    """An Engine over the graphs of onnx_files.graphs; a subclass knows how to run one.

    rows: C, of the graphs whose rows are the classes
    """

    own_threads = False
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
        """See Backbone.attend_memory; a bank of K + R entries for all rows, or of one for some."""
        name = "attend_own" if bank.memory.shape[1] == 1 else "attend_memory"
        rows = (bank.memory, bank.pointer, bank.time_code, bank.distance, bank.valid)
        return self._run(name, len(bank.memory), features[:1], *rows)[0]

    def remember(self, bank: BankTensors) -> None:  # noqa: B027 - nothing to do here
        """See Engine: nothing is kept here."""

    def compiled(self, function: nn.Module, *_: Tensor) -> nn.Module:
        """See Engine: as it is, on the device."""
        return function.to(self.device)

    def decode_masks(self, conditioned: Tensor, features: ImageFeatures) -> DecodedMasks:
        """See Backbone.decode_masks; features of one frame."""
        fine = (features.stride8, features.stride4)
        return DecodedMasks(*self._run("decode_masks", len(conditioned), conditioned, *fine))

    def encode_memory(self, features: Tensor, mask_logits: Tensor, present: Tensor) -> Tensor:
        """See Backbone.encode_memory; features of one frame."""
        size = self.config.image_size
        if mask_logits.shape[-1] != size:
            mask_logits = F.interpolate(
                mask_logits.float(), size=(size, size), mode="bilinear", align_corners=False
            )
        return self._run("encode_memory", len(mask_logits), features[:1], mask_logits, present)[0]

    def part_instruments(self, features: ImageFeatures, image: Tensor) -> PartedFrame:
        """See PartingHead.forward; one frame, of weights that have the head."""
        levels = (features.stride16, features.stride8, features.stride4)
        return PartedFrame(*self._run(PARTING, self._rows, *levels, image))

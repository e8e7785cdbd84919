"""What names instruments with the instance head's help, in one stream, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.interface import Engine
from models.instances.instance_head import HeadOutput, InstanceHead

State = TypeVar("State")


@dataclass(frozen=True)
class Labeled:
    """The rows after naming.

    confidence: (C,) before calibration; unnamed: (1, H, W) logits of what is of no class
    """

    rows: DecodedMasks
    confidence: Tensor
    unnamed: Tensor | None = None


class Labeler(ABC, Generic[State]):
    """Which pixels belong to which class: `InstanceClassifier` or `MaskFollower`."""

    def __init__(self, head: InstanceHead) -> None:
        self._head = head

    def see(self, engine: Engine, image: Tensor) -> tuple[ImageFeatures, HeadOutput]:
        """A frame's features and what the head says of them, by the engine where it can."""
        if engine.see_instruments is not None:
            return engine.see_instruments(image)
        features = engine.encode_image(image)
        return features, self._head(features, image)

    def name(self, head_output: HeadOutput, decoded: DecodedMasks) -> Labeled:
        """The rows' masks after naming."""
        if not bool(torch.isfinite(decoded.mask_logits).all()):
            return Labeled(decoded, decoded.iou)  # nothing may hide what is not a number
        return self._name(head_output, decoded)

    @abstractmethod
    def _name(self, head_output: HeadOutput, decoded: DecodedMasks) -> Labeled: ...

    @abstractmethod
    def reset(self) -> None:
        """Forget the stream."""

    @abstractmethod
    def snapshot(self) -> State:
        """The stream as it stands, to be gone on from later."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from there."""

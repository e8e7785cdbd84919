"""What names instruments with the parting head's help, in one stream, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from models.backbone.sam2 import DecodedMasks, ImageFeatures
from models.engines.interface import Engine
from models.instances.instance_head import PartedFrame, PartingHead

State = TypeVar("State")


@dataclass(frozen=True)
class Named:
    """The rows after naming.

    confidence: (C,) before calibration; unnamed: (1, H, W) logits of what is in no row, see Answer
    """

    rows: DecodedMasks
    confidence: Tensor
    unnamed: Tensor | None = None


class Namer(ABC, Generic[State]):
    """`InstanceNamer` and `Follower`: which pixels of the decoder's rows belong to which class."""

    def __init__(self, head: PartingHead) -> None:
        self._head = head

    def see(self, engine: Engine, image: Tensor) -> tuple[ImageFeatures, PartedFrame]:
        """A frame's features and what the head says of them, by the engine where it can."""
        if engine.see_instruments is not None:
            return engine.see_instruments(image)
        features = engine.encode_image(image)
        return features, self._head(features, image)

    def name(self, parted: PartedFrame, decoded: DecodedMasks) -> Named:
        """The rows' masks after naming."""
        if not bool(torch.isfinite(decoded.mask_logits).all()):
            return Named(decoded, decoded.iou)  # nothing may hide what is not a number
        return self._name(parted, decoded)

    @abstractmethod
    def _name(self, parted: PartedFrame, decoded: DecodedMasks) -> Named: ...

    @abstractmethod
    def reset(self) -> None:
        """Forget the stream."""

    @abstractmethod
    def remember(self) -> State:
        """The stream as it stands, to be gone on from later."""

    @abstractmethod
    def return_to(self, state: State) -> None:
        """Go on from there."""

"""Labels instruments with the instance head's help, in one stream, frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch

from models.backbone.prediction import Prediction
from models.backbone.sam2 import DecodedMasks
from models.instances.instance_head import HeadOutput

State = TypeVar("State")


class Labeler(ABC, Generic[State]):
    """Which pixels belong to which class: `InstanceClassifier` or `MaskFollower`."""

    def label(self, head_output: HeadOutput, decoded: DecodedMasks) -> Prediction:
        """The decoder's masks, labelled. head_output: of the same frame"""
        if not bool(torch.isfinite(decoded.mask_logits).all()):
            return Prediction.of(decoded)  # nothing may hide what is not a number
        return self._label(head_output, decoded)

    @abstractmethod
    def _label(self, head_output: HeadOutput, decoded: DecodedMasks) -> Prediction: ...

    @abstractmethod
    def reset(self) -> None:
        """Forget the stream."""

    @abstractmethod
    def snapshot(self) -> State:
        """The stream as it stands, to be gone on from later."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from there."""

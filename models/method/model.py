"""OFL-SAM2's parts on one frozen backbone, as functions of tensors (arXiv 2512.24861).

Pretraining, fitting and tracking all go through these, so that what is trained is what runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from models.backbone.memory_bank import Entries
from models.backbone.sam2 import Backbone, ImageFeatures
from models.config import BackboneConfig, LearnerConfig, MemoryConfig
from models.instances.click_head import ClickHead
from models.instances.instance_head import InstanceHead
from models.learner.fusion import AdaptiveFusion

HEADS = ("instance_head", "click_head")


@dataclass(frozen=True)
class MethodConfig:
    """Everything that is a choice: backbone, learner, memory, and which of HEADS there are."""

    backbone: BackboneConfig
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    heads: tuple[str, ...] = ()


class OflSam2(nn.Module):
    """The backbone and what goes with it: the fusion, and heads, each None if it is not there."""

    def __init__(self, config: MethodConfig, backbone: Backbone | None = None) -> None:
        super().__init__()
        width = config.backbone.model_width
        self.config = config
        self.backbone = backbone or Backbone(config.backbone)
        self.fusion = AdaptiveFusion(width)
        self.instance_head = InstanceHead(width) if "instance_head" in config.heads else None
        self.click_head = ClickHead() if "click_head" in config.heads else None

    @classmethod
    def sharing(cls, other: OflSam2, config: MethodConfig) -> OflSam2:
        """The same backbone and heads (not copies) with a fusion of its own."""
        own = cls(replace(config, heads=()), other.backbone)
        own.instance_head, own.click_head = other.instance_head, other.click_head
        return own

    def annotate(self, features: ImageFeatures, mask: Tensor) -> Entries:
        """Memories of annotated frames. features of N frames; mask: (N, 1, S, S) float 0 or 1"""
        present = mask.flatten(1).amax(dim=1) > 0.5
        logits = mask * 20.0 - 10.0
        memory = self.backbone.encode_memory(features.stride16, logits, present)
        return Entries(memory, self.backbone.prompted_pointer(features, mask))

    def target(self, stride16: Tensor, own: Entries) -> Tensor:
        """What the mapping network regresses: the frame conditioned on its own true mask.

        stride16: (1 or N, D, h, w); own: N entries, one each; returns (N, D, h, w)
        """
        return self.backbone.attend_own(stride16, own.memory, own.pointer)

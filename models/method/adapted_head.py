"""A profile's own instance head: the shipped one, adapted to the annotated pictures.

With one class it answers in the shipped one's place. With several the shipped head goes on to say
whose each pixel is and what it looks like, or names would become erratic; what is instrument says
the adapted one.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace

from safetensors.torch import save
from torch import Tensor

from models.backbone.sam2 import ImageFeatures
from models.errors import ProfileError
from models.instances.instance_head import HeadOutput, InstanceHead
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2

EMBEDDER = "embedder."  # begins the names of tensors that no adapting changes

HeadTensors = dict[str, Tensor]


class AdaptedHead(InstanceHead):
    """The shipped head; but what is instrument says the adapted one."""

    def __init__(self, shipped: InstanceHead, adapted: InstanceHead) -> None:
        super().__init__(shipped.width)
        self.load_state_dict(shipped.state_dict())
        self.adapted = adapted
        self.eval().requires_grad_(False)

    def forward(self, features: ImageFeatures, image: Tensor) -> HeadOutput:
        """See InstanceHead."""
        adapted: HeadOutput = self.adapted(features, image)
        return replace(super().forward(features, image), instrument=adapted.instrument)


def head_tensors(head: InstanceHead) -> HeadTensors:
    """What a profile keeps of an adapted head, in half precision."""
    state = head.state_dict()
    return {k: v.detach().half() for k, v in state.items() if not k.startswith(EMBEDDER)}


def own_head(shipped: InstanceHead, tensors: HeadTensors, classes: int) -> InstanceHead:
    """The head of a profile with so many classes. Raises ProfileError: tensors of another head."""
    kept = {k: v for k, v in shipped.state_dict().items() if k.startswith(EMBEDDER)}
    adapted = copy.deepcopy(shipped)
    try:
        adapted.load_state_dict(kept | {key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ProfileError(f"profile's head does not fit this backbone: {reason}") from error
    adapted.eval().requires_grad_(False)
    return adapted if classes == 1 else AdaptedHead(shipped, adapted)


def with_own_head(
    weights: LoadedWeights, tensors: HeadTensors | None, classes: int
) -> LoadedWeights:
    """The weights with a profile's head in the place of theirs, if it has one; the trunk is shared.

    The SHA-256 becomes that of both, so that engines keep graphs of their own for them.
    """
    if tensors is None:
        return weights
    if weights.model.instance_head is None:
        raise ProfileError(f"profile brings an instance head, {weights.name} has none to adapt")
    model = OflSam2.sharing(weights.model, weights.model.config)
    model.fusion = weights.model.fusion
    model.instance_head = own_head(weights.model.instance_head, tensors, classes)
    content = save({key: value.contiguous() for key, value in tensors.items()})
    digest = hashlib.sha256(f"{weights.sha256} {classes > 1}".encode() + content)
    return replace(weights, model=model, sha256=digest.hexdigest())

"""The frozen backbone that a run is made with."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.paper.setting import PaperConfig
from models.errors import CheckpointError
from models.method.checkpoint import LoadedWeights
from models.method.model import OflSam2
from service.model.weights import weight_source


def open_weights(config: PaperConfig) -> LoadedWeights:
    """The embedded NANO, a named file, or what `trocar weights fetch` brought.

    Raises CheckpointError.
    """
    weights = weight_source(config.checkpoint).load(config.backbone)
    size, own = config.image_size, weights.model.config.backbone.image_size
    if size is None or size == own:
        return weights
    if config.backbone == "nano":
        raise CheckpointError(f"the embedded nano is for {own} pixels, not {size}")
    return _resized(weights, size)


def _resized(weights: LoadedWeights, size: int) -> LoadedWeights:
    """The same weights in a network for another input size."""
    own = weights.model.config
    try:
        model = OflSam2(replace(own, backbone=own.backbone.resized(size)))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    model.load_state_dict(weights.model.state_dict())
    model.eval().requires_grad_(False)
    return replace(weights, model=model)

"""The instrument that somebody points at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from models.backbone.image_input import to_input
from models.errors import ModelError
from models.instances.clicks import click_maps
from models.method.checkpoint import LoadedWeights
from models.types import Click, UInt8Array


def segment_clicks(
    weights: LoadedWeights, image_rgb: UInt8Array, clicks: Sequence[Click]
) -> npt.NDArray[np.bool_]:
    """The instrument that is clicked on. image_rgb: (H, W, 3) uint8; returns (H, W) bool

    Raises ModelError: no click on an instrument, a click outside the picture, or weights without
    the heads for clicks.
    """
    model = weights.model
    if model.instance_head is None or model.click_head is None:
        raise ModelError(f"expected weights with a head for clicks, {weights.name} has none")
    if not any(click.on for click in clicks):
        raise ModelError("expected at least one click on an instrument, got none")
    for click in clicks:
        if not (0 <= click.x <= 1 and 0 <= click.y <= 1):
            raise ModelError(f"expected clicks within 0 to 1, got ({click.x}, {click.y})")
    with torch.inference_mode():
        image = model.backbone.normalize(to_input(image_rgb, model.config.backbone.image_size))
        head_output = model.instance_head(model.backbone.encode_image(image), image)
        logits = model.click_head(click_maps(head_output, 0, clicks)[None])[0, 0].numpy()
    height, width = image_rgb.shape[:2]
    large = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large > 0)

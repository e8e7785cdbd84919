"""What happens to a frame between the backbone's functions, as functions that an engine compiles.

They hold a profile's weights, so they cannot be part of the network's graphs. Products of small
matrices: in torch, beside an engine that has threads of its own, they took a tenth of a step.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.backbone.sam2 import ImageFeatures
from models.backbone.token_color import token_color
from models.config import LearnerConfig
from models.engines.interface import Engine, Function
from models.instances.instance_head import HeadOutput, InstanceHead
from models.learner.fusion import AdaptiveFusion
from models.learner.mapping_network import apply_mapper, describe_tokens
from models.learner.pixel_classifier import PixelClassifier, PixelNames
from models.method.model import OflSam2


def encode_with_head(
    engine: Engine, head: InstanceHead, image: Tensor
) -> tuple[ImageFeatures, HeadOutput]:
    """A frame's features and what the head says of them, by the engine where it can."""
    if engine.see_instruments is not None:
        return engine.see_instruments(image)
    features = engine.encode_image(image)
    return features, head(features, image)


class DescribeTokens(nn.Module):
    """What the mapping network and the pixel classifier see of a frame."""

    def __init__(self, grid: int, config: LearnerConfig) -> None:
        super().__init__()
        self._grid, self._config = grid, config

    def forward(self, stride16: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Colours by token_color, (1, 6, h, w), and the input of T, (1, d, h, w).

        stride16: (1, D, h, w); image: (1, 3, S, S) normalised
        """
        color = token_color(image, self._grid)
        return color, describe_tokens(stride16, color, self._config)


class MapAndFuse(nn.Module):
    """E2 = T(x), and its fusion with E1."""

    def __init__(self, fusion: AdaptiveFusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, attended: Tensor, token_features: Tensor, tau: Tensor) -> tuple[Tensor]:
        """E, (C, D, h, w).

        attended: E1, (C, D, h, w); token_features: (1, d, h, w); tau: (C, D, d)
        """
        return (self.fusion.forward(attended, apply_mapper(tau, token_features)),)


@dataclass(frozen=True)
class FrameFunctions:
    """DescribeTokens, MapAndFuse and PixelClassifier, the last only where pixels are named."""

    describe_tokens: Function
    map_and_fuse: Function
    classify_pixels: Function | None

    @classmethod
    def on(
        cls, engine: Engine, model: OflSam2, tau: Tensor, pixels: PixelNames | None
    ) -> FrameFunctions:
        """As the engine runs them. tau: (C, D, d), for its shape and device"""
        config = engine.config
        classes, width, grid = len(tau), config.model_width, config.grid
        stride16, color = tau.new_zeros(1, width, grid, grid), tau.new_zeros(1, 6, grid, grid)
        image = tau.new_zeros(1, 3, config.image_size, config.image_size)
        attended = tau.new_zeros(classes, width, grid, grid)
        tokens = tau.new_zeros(1, tau.shape[2], grid, grid)
        logits = tau.new_zeros(classes, 1, 4 * grid, 4 * grid)
        describe = engine.compiled(DescribeTokens(grid, model.config.learner), stride16, image)
        fuse = engine.compiled(MapAndFuse(model.fusion), attended, tokens, tau)
        if pixels is None:
            return cls(describe, fuse, None)
        example = (stride16, color, logits, pixels.indicator)
        return cls(describe, fuse, engine.compiled(PixelClassifier(pixels.weight), *example))

"""The image encoder in nested order is the image encoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.backbone.sam2 import Backbone
from models.config import BASE_PLUS, LARGE, NANO, TINY, BackboneConfig
from models.engines.nested_hiera import NestedImageEncoder, nested_order, nests

SHORT_LARGE = replace(LARGE, embed_dim=32, stages=(1, 1, 3, 1), global_blocks=(3, 4))


@pytest.mark.parametrize("config", [NANO, SHORT_LARGE.resized(512)], ids=["nano", "large"])
def test_same_features_as_the_package_gives(config: BackboneConfig) -> None:
    torch.manual_seed(0)
    backbone = Backbone(config).freeze()
    assert nests(config)
    image = torch.randn(1, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        expected = backbone.encode_image(image)
        found = NestedImageEncoder(backbone).eval()(image)
    for one, other in zip(
        found, (expected.stride16, expected.stride8, expected.stride4), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_windows_are_runs_of_tokens_at_every_stage() -> None:
    order = nested_order(16, 8)
    assert sorted(order.tolist()) == list(range(256))
    y, x = order // 16, order % 16
    for side in (2, 4, 8):
        for number, run in enumerate(torch.stack([y // side, x // side], 1).split(side * side)):
            assert (run == run[0]).all(), f"run {number} of {side * side} tokens is one window"
    pooled = torch.stack([y // 2, x // 2], 1)[::4]
    assert torch.equal(pooled[:, 0] * 8 + pooled[:, 1], nested_order(8, 4))


@pytest.mark.parametrize("config", [TINY, BASE_PLUS, LARGE.resized(288)])
def test_windows_that_do_not_nest_are_told(config: BackboneConfig) -> None:
    assert not nests(config)

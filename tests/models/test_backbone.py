"""Our four functions compute what the sam2 package's own code computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.backbone.memory_attention import BankTensors
from models.backbone.sam2 import Backbone, ImageFeatures
from models.config import NANO, TINY, BackboneConfig

ROWS = 3


@pytest.fixture(scope="module", params=[NANO, TINY.resized(256)], ids=lambda c: c.name)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return Backbone(request.param).freeze()


@pytest.fixture(scope="module")
def features(backbone: Backbone) -> ImageFeatures:
    side = backbone.config.image_size
    return backbone.encode_image(torch.randn(1, 3, side, side))


def make_bank(config: BackboneConfig) -> BankTensors:
    torch.manual_seed(1)
    grid = config.grid
    return BankTensors(
        memory=torch.randn(ROWS, 3, config.memory_width, grid, grid),
        pointer=torch.randn(ROWS, 3, config.model_width),
        time_code=torch.tensor([config.memories - 1, 1, 0]),
        distance=torch.tensor([[9.0, 2.0, 1.0]]).expand(ROWS, -1),
        valid=torch.ones(ROWS, 3, dtype=torch.bool),
    )


def flat(features: Tensor) -> Tensor:
    """(1, D, h, w) -> (hw, ROWS, D), the layout of sam2."""
    return features.expand(ROWS, -1, -1, -1).flatten(2).permute(2, 0, 1)


def test_memory_attention_equals_the_packages(backbone: Backbone, features: ImageFeatures) -> None:
    bank, grid = make_bank(backbone.config), backbone.config.grid
    pos = flat(backbone.image_pos)  # type: ignore[arg-type]
    memory_pos = backbone.memory_pos.expand(ROWS, -1, -1, -1)  # type: ignore[union-attr,operator]

    def entry(number: int) -> dict[str, object]:
        return {
            "maskmem_features": bank.memory[:, number],
            "maskmem_pos_enc": [memory_pos],
            "obj_ptr": bank.pointer[:, number],
        }

    outputs = {
        "cond_frame_outputs": {1: entry(0)},
        "non_cond_frame_outputs": {8: entry(1), 9: entry(2)},
    }
    expected = backbone.sam._prepare_memory_conditioned_features(
        10, False, [flat(features.stride16)], [pos], [(grid, grid)], outputs, 100
    )
    torch.testing.assert_close(
        backbone.attend_memory(features.stride16, bank), expected, atol=1e-5, rtol=1e-5
    )


def test_an_empty_place_in_the_bank_changes_nothing(
    backbone: Backbone, features: ImageFeatures
) -> None:
    bank = make_bank(backbone.config)
    junk = torch.full_like(bank.memory[:, :2], 1e3)
    padded = BankTensors(
        memory=torch.cat([bank.memory, junk], dim=1),
        pointer=torch.cat([bank.pointer, torch.randn_like(bank.pointer[:, :2])], dim=1),
        time_code=torch.tensor([*bank.time_code.tolist(), 0, 0]),
        distance=torch.cat([bank.distance, torch.zeros(ROWS, 2)], dim=1),
        valid=torch.tensor([[True, True, True, False, False]] * ROWS),
    )
    torch.testing.assert_close(
        backbone.attend_memory(features.stride16, padded),
        backbone.attend_memory(features.stride16, bank),
        atol=1e-5,
        rtol=1e-5,
    )


def test_replicating_the_whole_bank_changes_nothing(
    backbone: Backbone, features: ImageFeatures
) -> None:
    bank = make_bank(backbone.config)
    twice = BankTensors(
        memory=bank.memory.repeat(1, 2, 1, 1, 1),
        pointer=bank.pointer.repeat(1, 2, 1),
        time_code=bank.time_code.repeat(2),
        distance=bank.distance.repeat(1, 2),
        valid=bank.valid.repeat(1, 2),
    )
    torch.testing.assert_close(
        backbone.attend_memory(features.stride16, twice),
        backbone.attend_memory(features.stride16, bank),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_frame_attends_to_itself_as_to_a_bank_of_one(
    backbone: Backbone, features: ImageFeatures
) -> None:
    bank, config = make_bank(backbone.config), backbone.config
    own = BankTensors(
        memory=bank.memory[:, :1],
        pointer=bank.pointer[:, :1],
        time_code=torch.tensor([config.memories - 1]),
        distance=torch.zeros(ROWS, 1),
        valid=torch.ones(ROWS, 1, dtype=torch.bool),
    )
    found = backbone.attend_own(features.stride16, bank.memory[:, 0], bank.pointer[:, 0])
    expected = backbone.attend_memory(features.stride16, own)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_decoder_and_memory_encoder_equal_the_packages(
    backbone: Backbone, features: ImageFeatures
) -> None:
    conditioned = backbone.attend_memory(features.stride16, make_bank(backbone.config))
    ours = backbone.decode_masks(conditioned, features)
    fine = [features.stride4, features.stride8]
    theirs = backbone.sam._forward_sam_heads(
        conditioned, None, None, fine, backbone.config.multimask
    )
    torch.testing.assert_close(ours.gated(), theirs[3])
    torch.testing.assert_close(ours.pointer, theirs[5])
    torch.testing.assert_close(ours.object_logit, theirs[6][:, 0])

    grid = backbone.config.grid
    expected, _ = backbone.sam._encode_new_memory(
        [flat(features.stride16)], [(grid, grid)], theirs[4], theirs[6], False
    )
    memory = backbone.encode_memory(features.stride16, ours.gated(), ours.object_logit > 0)
    torch.testing.assert_close(memory, expected, atol=1e-5, rtol=1e-5)


def test_pointer_of_a_given_mask_equals_the_packages(
    backbone: Backbone, features: ImageFeatures
) -> None:
    side = backbone.config.image_size
    mask = (torch.rand(ROWS, 1, side, side) > 0.5).float()
    mask[1] = 0
    each = features.rows(torch.zeros(ROWS, dtype=torch.long))
    expected = backbone.sam._use_mask_as_output(
        each.stride16, [features.stride4, features.stride8], mask
    )[5]
    torch.testing.assert_close(backbone.prompted_pointer(each, mask), expected)

"""Instruments followed from one annotated frame: crossing, leaving, coming back, newcomers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.backbone.sam2 import DecodedMasks
from models.config import FitConfig
from models.errors import DatasetError
from models.fitting.annotated import AnnotatedFrames
from models.fitting.fit import fit_frames
from models.instances.foreground_fit import fit_foreground, foreground_shift
from models.instances.instance_head import VOTE, HeadOutput
from models.instances.mask_follower import PATIENCE, MaskFollower
from models.method.checkpoint import LoadedWeights
from models.method.profile import Mode, load_profile, save_profile
from models.phantom import Procedure
from models.tracking.tracker import Tracker
from models.types import ClassSpec, UInt8Array

SIDE = 32
LEVEL, UPRIGHT, OTHER = (0.9, 0.5, 0.25, 0.0), (0.5, 0.9, 0.0, 0.25), (0.0, 0.0, -0.25, 0.0)


class Scene:
    """Bars that vote for themselves; the rows' logits are what a test says they are."""

    def __init__(self, weights: LoadedWeights) -> None:
        assert weights.model.instance_head is not None
        self._follower = MaskFollower(weights.model.instance_head, 2, torch.zeros(5))

    def step(self, where: dict[tuple[float, ...], Tensor], rows: Tensor) -> Tensor:
        """where: (H, W) bool by vote, later ones on top; rows: (2, H, W). The masks, bool."""
        vote, found = torch.zeros(1, VOTE, SIDE, SIDE), torch.full((1, 1, SIDE, SIDE), -8.0)
        for own, mask in where.items():
            vote[0, :4, mask] = torch.tensor(own)[:, None]
            found[0, 0, mask] = 8.0
        empty = torch.zeros(0)
        head_output = HeadOutput(found, vote, torch.zeros(1, 4, SIDE // 2, SIDE // 2), empty)
        decoded = DecodedMasks(rows[:, None], torch.ones(2), torch.ones(2), empty)
        return self._follower.label(head_output, decoded).gated()[:, 0] > 0


def bar(*, level: bool, place: int) -> Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    along = (slice(place, place + 6), slice(None))
    mask[along if level else along[::-1]] = True
    return mask


def rows_of(*masks: Tensor) -> Tensor:
    return torch.stack([torch.where(mask, 6.0, -6.0) for mask in masks])


def test_two_that_cross_keep_their_names_when_the_rows_take_them_for_one(
    weights: LoadedWeights,
) -> None:
    scene, level, upright = Scene(weights), bar(level=True, place=4), bar(level=False, place=4)
    scene.step({UPRIGHT: upright, LEVEL: level}, rows_of(level, upright & ~level))
    for place in range(5, 20):
        level = bar(level=True, place=place)
        mistaken = rows_of(level | upright, torch.zeros_like(level))
        masks = scene.step({UPRIGHT: upright, LEVEL: level}, mistaken)
        assert torch.equal(masks[0], level)
        assert torch.equal(masks[1], upright & ~level)


def test_one_that_leaves_and_comes_back_elsewhere_has_its_name_again(
    weights: LoadedWeights,
) -> None:
    scene, level, upright = Scene(weights), bar(level=True, place=4), bar(level=False, place=20)
    nothing = torch.zeros_like(level)
    scene.step({UPRIGHT: upright, LEVEL: level}, rows_of(level, upright & ~level))
    for _ in range(PATIENCE + 1):
        masks = scene.step({UPRIGHT: upright}, rows_of(nothing, upright))
        assert not masks[0].any()
    masks = scene.step({UPRIGHT: upright, OTHER: level}, rows_of(level, upright & ~level))
    assert torch.equal(masks[0], level)


def test_a_newcomer_is_not_given_a_known_name(weights: LoadedWeights) -> None:
    scene, level, upright = Scene(weights), bar(level=True, place=4), bar(level=False, place=20)
    rows = rows_of(level, upright & ~level)
    scene.step({UPRIGHT: upright, LEVEL: level}, rows)
    new = bar(level=True, place=24)
    mistaken = rows_of(level | new, upright & ~level & ~new)
    masks = scene.step({UPRIGHT: upright, LEVEL: level, OTHER: new}, mistaken)
    assert not (masks.any(dim=0) & new).any()
    assert torch.equal(masks[0], level)


def test_what_the_head_misses_in_the_annotated_frame_it_finds_in_the_next_ones() -> None:
    """A shaft of a look that the head hardly believes, tissue that it takes for one, both moved."""
    rng = torch.Generator().manual_seed(0)

    def seen(place: int) -> tuple[HeadOutput, Tensor, Tensor]:
        shaft, missed = bar(level=True, place=place), bar(level=False, place=place)
        tissue = bar(level=True, place=place + 12) & ~missed
        logit = torch.full((SIDE, SIDE), -4.0).masked_fill(shaft, 4.0)
        logit = logit.masked_fill(missed & ~shaft, -1.5).masked_fill(tissue, 1.0)
        looks = torch.stack([shaft, missed, tissue]).float()[None, :, ::2, ::2]
        looks = looks + 0.1 * torch.randn(looks.shape, generator=rng)
        empty = torch.zeros(0)
        return HeadOutput(logit[None, None], empty, looks, empty), shaft | missed, tissue

    first, truth, told = seen(4)
    weight = fit_foreground(first, truth, torch.ones_like(truth))
    untold = fit_foreground(first, truth, ~told)  # nobody says that it is tissue
    for place in (8, 12):
        head_output, truth, tissue = seen(place)
        logit = head_output.instrument[0, 0]
        found = logit + foreground_shift(weight, head_output.texture[0]) > 0
        assert (logit > 0)[truth].float().mean() < 0.7
        assert found[truth].float().mean() > 0.9
        assert found[tissue].float().mean() < 0.3
        kept = logit + foreground_shift(untold, head_output.texture[0]) > 0
        assert kept[truth].float().mean() > 0.9
        assert kept[tissue].float().mean() > 0.7


def annotated(seed: int) -> tuple[UInt8Array, UInt8Array]:
    frame = Procedure(seed).clip(0, size=(256, 256)).render(0.0)
    return frame.image_rgb, frame.instance_mask


def test_one_annotated_frame_is_followed_and_saved_so(
    weights: LoadedWeights, tmp_path: Path
) -> None:
    image, truth = annotated(40_502)
    ids = [int(i) for i in np.unique(truth) if i]
    assert ids
    specs = tuple(ClassSpec(i, f"instance {i}", "#3fb950") for i in ids)
    frames = AnnotatedFrames.of([(image, truth)], ids, 256)
    profile, _ = fit_frames(weights, specs, frames, FitConfig(follow=True))
    save_profile(profile, tmp_path / "one.safetensors")
    loaded = load_profile(tmp_path / "one.safetensors")
    assert loaded.mode is Mode.FOLLOW
    found = Tracker(weights, loaded).step(image).class_map
    apart = Tracker(weights, replace(loaded, mode=Mode.PIXELS)).step(image).class_map
    overlap = [(found == i)[truth == i].mean() for i in ids]
    assert np.mean(overlap) > 0.7
    assert not np.array_equal(found, apart)
    kinds, _ = fit_frames(weights, specs, frames, FitConfig())
    assert kinds.mode is not Mode.FOLLOW, "a class may have many instruments, unless one says so"


def test_only_one_frame_can_be_followed(weights: LoadedWeights) -> None:
    pairs = [annotated(40_502), annotated(40_502)]
    frames = AnnotatedFrames.of(pairs, [1], 256)
    with pytest.raises(DatasetError, match="expected one annotated frame to follow, got 2"):
        fit_frames(weights, (ClassSpec(1, "one", "#3fb950"),), frames, FitConfig(follow=True))

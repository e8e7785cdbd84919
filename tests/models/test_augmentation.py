"""Training frames in other colours and framings: what is known of them must stay true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.instances.instance_head import DIRECTION
from models.method.checkpoint import LoadedWeights
from models.training import head_frames
from models.training.augmentation import recolored, reframed
from models.training.rendered_frames import RenderedFrames, render_frames

SIDE = 128


def bar(x: int = 60, y: int = 70, length: int = 40) -> RenderedFrames:
    """Four frames of one bar, 9 pixels high, from (x, y) to the right, along its direction."""
    instance = torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)
    instance[:, y - 4 : y + 5, x : x + length] = 7
    image = torch.full((4, 3, SIDE, SIDE), 90, dtype=torch.uint8)
    image[:, 0] = 160
    image = torch.where(instance[:, None] > 0, 40, image).to(torch.uint8)
    pose, kind = torch.zeros(4, 256, 4), torch.zeros(4, 256, dtype=torch.long)
    pose[:, 7] = torch.tensor([(x + 0.5) / SIDE, (y + 0.5) / SIDE, DIRECTION, 0.0])
    kind[:, 7] = 2
    return RenderedFrames(image, instance, pose, kind)


def test_votes_stay_with_their_instrument_when_the_picture_is_mirrored_or_enlarged() -> None:
    rng, seen, mirrored = np.random.default_rng(0), 0, 0
    for _ in range(20):
        changed = reframed(bar(), rng)
        for instance, pose in zip(changed.instance, changed.pose[:, 7], strict=True):
            along = pose[2:] / DIRECTION
            assert torch.isclose(along.norm(), torch.tensor(1.0))
            mirrored += bool(along[0] < 0)
            for far, there in ((0.05, True), (-0.08, False)):
                x, y = ((pose[:2] + far * along) * SIDE).int().tolist()
                if 0 <= x < SIDE and 0 <= y < SIDE:
                    assert bool(instance[y, x] == 7) is there
                    seen += 1
    assert seen > 100
    assert 20 < mirrored < 60


def test_an_instrument_may_have_the_hue_of_tissue_or_another() -> None:
    rng, gaps = np.random.default_rng(1), []
    for _ in range(40):
        frames = bar()
        changed = recolored(frames, rng)
        assert changed.image.dtype == torch.uint8
        assert torch.equal(changed.instance, frames.instance)
        assert torch.equal(changed.pose, frames.pose)
        inside = changed.instance[0] > 0
        picture = changed.image[0].float()
        colors = [picture[:, where].mean(1) for where in (inside, ~inside)]
        one, other = (color / color.sum() for color in colors)
        gaps.append(float((one - other).abs().max()))
    assert min(gaps) < 0.03
    assert max(gaps) > 0.1


def test_of_a_draw_the_last_frame_may_show_no_instrument(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendered procedures whose first frame alone is empty: chosen in every draw, or by chance."""

    def rendered(size: int, seed: int, rng: np.random.Generator) -> RenderedFrames:
        frames = render_frames(size, seed, rng)
        shown = frames.instance.clone()
        shown[0] = 0
        shown[1:, 100:140, 100:140] = 1
        return replace(frames, instance=shown)

    monkeypatch.setattr(head_frames, "render_frames", rendered)
    pool = head_frames.FramePool(weights.model.backbone, capacity=2, seed=0)
    pool.refresh(3)
    for share, expected in ((0.0, False), (1.0, True)):
        monkeypatch.setattr(head_frames, "EMPTY", share)
        drawn = [pool.draw(2, 4).cover.flatten(1).amax(dim=1) == 0 for _ in range(4)]
        empty = torch.stack(drawn).reshape(-1, 4)  # a draw's frames of one procedure
        assert bool(empty[:, 3].all()) is expected
        assert int(empty[:, :3].sum()) <= len(empty)


def test_recoloring_real_renderings_leaves_them_pictures() -> None:
    frames = render_frames(SIDE, 9_900_000, np.random.default_rng(2))
    changed = recolored(frames, np.random.default_rng(3))
    assert changed.image.shape == frames.image.shape
    assert float(changed.image.float().std()) > 5
    assert not torch.equal(changed.image, frames.image)

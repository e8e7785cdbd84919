"""Instruments told apart, followed and named: grouping, tracks, exemplars, the instance head."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.backbone.image_input import to_input
from models.backbone.sam2 import DecodedMasks
from models.errors import ModelError
from models.instances.assignment import joint_shares
from models.instances.clicks import next_click
from models.instances.exemplars import Exemplars
from models.instances.instance_classifier import InstanceClassifier, frame_exemplars, joined
from models.instances.instance_head import EMBEDDING, VOTE, HeadOutput
from models.instances.small_regions import SmallRegions
from models.instances.tracks import MAX_TRACKS, NOBODY, PATIENCE, Instances, InstanceTracks
from models.instances.vote_grouping import MAX_INSTANCES, group_votes
from models.method.checkpoint import EMBEDDED, LoadedWeights
from models.method.prompts import segment_clicks
from models.phantom import Procedure
from models.training import click_training, head_training
from models.training import embedding_fitting as description_fitting
from models.training.embedding_fitting import (
    SHARPNESS,
    Regions,
    discriminants,
    episode_loss,
    train_in_episodes,
)
from models.types import Click

Picture = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def crossing(size: int = 64) -> tuple[Picture, Picture]:
    """An upright and a level bar that cross; every pixel votes for its own bar. (VOTE, H, W)"""
    owner = np.zeros((size, size), np.float32)
    owner[28:36, :] = 1
    owner[:, 28:36] = 2
    vote = np.zeros((VOTE, size, size), np.float32)
    vote[:4, owner == 1] = np.array([0.9, 0.5, 0.25, 0.0], np.float32)[:, None]
    vote[:4, owner == 2] = np.array([0.5, 0.9, 0.0, 0.25], np.float32)[:, None]
    return owner, vote


def test_crossing_bars_part_and_a_bar_cut_in_two_is_one() -> None:
    owner, vote = crossing()
    noise = np.random.default_rng(0).normal(0, 0.02, vote.shape).astype(np.float32)
    head_output = group_votes(owner > 0, vote + noise)
    assert len(head_output.centre) == 2
    left, right, upright = (
        head_output.label[32, 5],
        head_output.label[32, 60],
        head_output.label[5, 32],
    )
    assert left == right != upright
    assert (head_output.label > 0).sum() == (owner > 0).sum()


def test_a_cell_or_two_that_vote_astray_are_no_piece_of_another_instrument() -> None:
    owner, vote = crossing()
    elsewhere = vote[:, 32, 5][:, None]
    vote[:, 5:7, 28] = elsewhere  # of the upright bar
    vote[:, 50, 33:34] = elsewhere
    vote[:, 56, 31:34] = elsewhere  # three are a piece
    head_output = group_votes(owner > 0, vote)
    level, upright = head_output.label[32, 5], head_output.label[5, 32]
    assert level != upright
    assert (head_output.label[:28, 28:36] == upright).all()
    assert (head_output.label[36:56, 28:36] == upright).all()
    assert head_output.label[56, 28:36].tolist() == [upright] * 3 + [level] * 3 + [upright] * 2
    assert (head_output.label[28:36, :28] == level).all()


@pytest.mark.parametrize("share", [0.0, 0.001, 1.0])
def test_any_votes_give_a_bounded_number_of_instances(share: float) -> None:
    rng = np.random.default_rng(1)
    vote = rng.uniform(-3, 3, (VOTE, 64, 64)).astype(np.float32)
    instrument = rng.random((64, 64)) < share
    head_output = group_votes(instrument, vote)
    assert len(head_output.centre) <= MAX_INSTANCES
    assert head_output.label.max() == len(head_output.centre)
    assert not (head_output.label[~instrument]).any()


def instances(centre: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Instances:
    looks = np.tile(np.array([[1.0, 0.0]], np.float32), (len(centre), 1))
    return Instances(centre, looks, np.full(len(centre), 100))


def test_a_track_outvotes_a_frame_that_says_otherwise() -> None:
    tracks, here = InstanceTracks(), np.zeros((1, VOTE), np.float32)
    first = np.log([[0.9, 0.1]]).astype(np.float32)
    other = np.log([[0.3, 0.7]]).astype(np.float32)
    for number in range(6):
        assert tracks.step(instances(here + np.float32(0.02 * number)), first).argmax() == 0
    assert tracks.step(instances(here + np.float32(0.12)), other).argmax() == 0
    assert tracks.step(instances(here + np.float32(1.0)), other).argmax() == 1


def test_tracks_are_bounded_and_forgotten() -> None:
    tracks, rng = InstanceTracks(), np.random.default_rng(2)
    for _ in range(300):
        count = int(rng.integers(0, MAX_INSTANCES + 1))
        centre = rng.uniform(-5, 5, (count, VOTE)).astype(np.float32)
        tracks.step(instances(centre), np.zeros((count, 3), np.float32))
        assert len(tracks) <= MAX_TRACKS
    for _ in range(PATIENCE + 1):
        tracks.step(instances(np.zeros((0, VOTE), np.float32)), np.zeros((0, 3), np.float32))
    assert len(tracks) == 0


def test_references_name_what_they_were_made_of(weights: LoadedWeights) -> None:
    """Regions of one procedure's frames, named by other frames of it: most get their own name."""
    head, backbone = weights.model.instance_head, weights.model.backbone
    assert head is not None
    procedure = Procedure(41_003)
    each: list[Exemplars] = []
    for clip in range(4):
        for t in (1.0, 5.0):
            frame = procedure.clip(clip).render(t)
            image = backbone.normalize(to_input(frame.image_rgb, 256))
            masks = np.stack([frame.class_mask == kind for kind in procedure.kinds])
            features = backbone.encode_image(image)
            each.append(frame_exemplars(head, head(features, image), torch.from_numpy(masks)))
    right, count = 0, 0
    for number, one in enumerate(each):
        others = joined([other for place, other in enumerate(each) if place != number])
        shares = others.log_shares(one.embedding, len(procedure.kinds))
        assert torch.allclose(shares.exp().sum(dim=1), torch.ones(len(shares)), atol=1e-4)
        right += int((shares.argmax(dim=1) == one.row).sum())
        count += len(one.row)
    assert count >= 6
    assert right / count >= 0.7


def test_an_instrument_that_could_be_anything_is_drawn_without_a_name(
    weights: LoadedWeights,
) -> None:
    """Exemplars that look the same, then one alike and the others not, then none alike."""
    head, backbone = weights.model.instance_head, weights.model.backbone
    assert head is not None
    frame = Procedure(41_003).clip(0).render(1.0)
    image = backbone.normalize(to_input(frame.image_rgb, 256))
    features = backbone.encode_image(image)
    shown = torch.from_numpy(frame.class_mask > 0)[None]
    head_output = head(features, image)
    own = frame_exemplars(head, head_output, shown).embedding[:1]
    nothing = torch.full((3, 1, 64, 64), -9.0)
    decoded = DecodedMasks(nothing, torch.ones(3), torch.ones(3), torch.zeros(3, 128))

    def drawn(first: torch.Tensor, others: torch.Tensor) -> list[bool]:
        """Is each class? And last, is what has no name?"""
        embedding = torch.cat([first, others, others])
        exemplars = Exemplars(embedding, torch.arange(3))
        named = InstanceClassifier(head, exemplars, 3).label(head_output, decoded)
        assert named.unnamed is not None
        masks = torch.cat([named.mask_logits[:, 0], named.unnamed]) > 0
        assert int(masks.sum()) == int(masks.any(dim=0).sum()), "a pixel is in one of them"
        there = masks.flatten(1).any(dim=1)
        assert torch.equal(there[:-1], named.object_logit > 0)
        assert bool(torch.isfinite(named.raw).all())
        return [bool(one) for one in there]

    assert drawn(own, own) == [False, False, False, True]
    assert drawn(own, -own)[:3] == [True, False, False]
    assert drawn(-own / 2, -own) == [False, False, False, True]


def test_a_name_in_the_balance_stays_until_another_is_clearly_likelier() -> None:
    tracks, here = InstanceTracks(), np.zeros((1, VOTE), np.float32)
    nothing = np.zeros((1, 2), np.float32)

    def name(*shares: float) -> int:
        tracks.step(instances(here), nothing)
        return int(tracks.name(np.array([shares], np.float32))[0])

    assert name(0.52, 0.40) == NOBODY, "not sure enough to begin with"
    assert name(0.60, 0.35) == 0
    assert [name(0.45, 0.50), name(0.50, 0.45), name(0.42, 0.54)] == [0, 0, 0]
    assert name(0.40, 0.58) == 1
    assert name(0.54, 0.30) == NOBODY, "neither its own nor sure enough"
    assert name(0.56, 0.30) == 0
    tracks.step(instances(here + np.float32(3)), nothing)
    elsewhere = tracks.name(np.array([[0.5, 0.3]], np.float32))
    assert elsewhere.tolist() == [NOBODY], "another instrument does not inherit it"


def test_no_instrument_no_name() -> None:
    tracks = InstanceTracks()
    tracks.step(instances(np.zeros((0, VOTE), np.float32)), np.zeros((0, 2), np.float32))
    assert tracks.name(np.zeros((0, 2), np.float32)).tolist() == []


def test_descriptions_come_to_tell_kinds_apart_in_procedures_not_seen() -> None:
    """The clips look opposite, and only the product of two inputs stays with a kind."""
    rng = torch.Generator().manual_seed(3)

    def procedure() -> Regions:
        label, clip = torch.arange(24) % 2 + 1, torch.arange(24) // 12
        sign = 2 * clip - 1
        other = sign * (2 * label - 3)
        noise = 0.1 * torch.randn(24, EMBEDDING, generator=rng)
        pooled = noise + torch.stack([sign, other], dim=1).repeat(1, EMBEDDING // 2)
        return Regions(pooled, label, clip, torch.ones(24, dtype=torch.bool))

    train, unseen = [procedure() for _ in range(40)], [procedure() for _ in range(8)]
    embedder, sharpness = discriminants(train), torch.tensor(SHARPNESS).log()

    def loss() -> float:
        with torch.no_grad():
            each = [episode_loss(embedder(one.pooled), one, sharpness) for one in unseen]
        return float(torch.stack(each).mean())

    before = loss()
    train_in_episodes(embedder, train, steps=150)
    assert before > 0.6
    assert loss() < 0.3


def test_a_click_takes_the_instrument_it_is_on(weights: LoadedWeights) -> None:
    """One click in the middle of each visible instrument of unseen scenes, then corrections."""
    first, last = [], []
    for seed in range(41_100, 41_106):
        frame = Procedure(seed).clip(0).render(2.0)
        for instance in np.unique(frame.instance_mask[frame.instance_mask > 0]):
            truth = frame.instance_mask == instance
            start = next_click(np.zeros_like(truth), truth)
            if truth.mean() < 0.01 or start is None:
                continue
            clicks, scores = [start], []
            for _ in range(3):
                found = segment_clicks(weights, frame.image_rgb, clicks)
                scores.append((found & truth).sum() / (found | truth).sum())
                clicks += [one for one in [next_click(found, truth)] if one is not None]
            first.append(scores[0])
            last.append(scores[-1])
    assert len(first) >= 5
    assert np.mean(first) >= 0.5
    assert np.mean(last) >= 0.6


@pytest.mark.parametrize(
    ("clicks", "expected"),
    [
        ([], "at least one click on an instrument"),
        ([Click(0.5, 0.5, on=False)], "at least one click on an instrument"),
        ([Click(1.5, 0.5)], "within 0 to 1"),
    ],
)
def test_clicks_that_cannot_be_answered(
    weights: LoadedWeights, clicks: list[Click], expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        segment_clicks(weights, np.zeros((32, 32, 3), np.uint8), clicks)


def test_two_of_one_kind_are_rarer_than_two_kinds() -> None:
    """The surer instance keeps the name that both would have; without a cost both keep it."""
    evidence = np.log(np.array([[0.9, 0.1], [0.6, 0.4]], np.float32))
    area = np.array([50, 60])
    assert joint_shares(evidence, area, 0.0).argmax(axis=1).tolist() == [0, 0]
    assert joint_shares(evidence, area, 2.0).argmax(axis=1).tolist() == [0, 1]
    many = np.log(np.full((8, 7), 1 / 7, np.float32))
    assert np.allclose(joint_shares(many, np.arange(8), 1.0).sum(axis=1), 1)


def test_many_classes_do_not_make_naming_explode() -> None:
    evidence = np.log(np.random.default_rng(0).dirichlet(np.ones(200), size=5)).astype(np.float32)
    started = time.perf_counter()
    shares = joint_shares(evidence, np.arange(5), 1.0)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert time.perf_counter() - started < 0.5


def test_heads_are_trained_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of each, from the embedded weights; everything else stays bit for bit."""
    for module in (head_training, click_training):
        monkeypatch.setattr(module, "PROCEDURES", 2)
    monkeypatch.setattr(head_training, "WARM_UP", 1)  # smaller steps vanish in half precision
    head_output, embedding, clicked = (tmp_path / f"{n}.safetensors" for n in range(3))
    head_training.train(EMBEDDED, head_output, steps=2)
    description_fitting.fit(head_output, embedding, procedures=3, steps=2)
    click_training.train(embedding, clicked, steps=2)
    before, after = load_file(EMBEDDED), load_file(clicked)
    assert before.keys() == after.keys()
    heads = ("parting.", "clicks.")
    for key, value in before.items():
        assert torch.equal(value, after[key]) != key.startswith(heads) or value.numel() < 2
    assert head_output.with_suffix(".png").stat().st_size > 1000


def test_a_small_region_that_is_nowhere_sure_is_no_instrument(weights: LoadedWeights) -> None:
    """A speck goes, the same with one sure pixel stays, so does a large one."""
    head = weights.model.instance_head
    assert head is not None
    own = torch.full((64, 64), -8.0)
    own[4:8, 4:8] = 2.0
    own[4:8, 40:44] = 2.0
    own[5, 41] = 7.0
    own[30:50, 10:40] = 2.0
    head_output = HeadOutput(
        own[None, None], torch.zeros(1, VOTE, 64, 64), torch.zeros(0), torch.zeros(0)
    )
    nothing = torch.full((1, 1, 64, 64), -9.0)
    decoded = DecodedMasks(nothing, torch.ones(1), torch.ones(1), torch.zeros(1, 128))
    exemplars = Exemplars(torch.zeros(0, EMBEDDING), torch.zeros(0).long())
    named = InstanceClassifier(head, exemplars, 1).label(head_output, decoded)
    shown = named.mask_logits[0, 0] > 0
    assert not shown[4:8, 4:8].any()
    assert shown[4:8, 40:44].all()
    assert shown[30:50, 10:40].all()


def test_what_was_seen_a_moment_ago_need_not_be_as_sure_to_stay() -> None:
    small_regions = SmallRegions()

    def seen(logit: float, left: int = 4) -> bool:
        own = torch.full((64, 64), -8.0)
        own[4:8, left : left + 4] = logit
        return bool((small_regions.filtered(own, own) > 0).any())

    assert not seen(4.0), "nothing was there"
    assert seen(6.0)
    assert [seen(4.0), seen(3.5, left=5), seen(4.0, left=6)] == [True] * 3, "it moves"
    assert not seen(4.0, left=30), "another place"
    assert not seen(4.0, left=6), "it was not there a frame ago"
    assert seen(6.0)
    assert not seen(2.0), "next to nothing is nothing"
    assert seen(6.0)
    assert not seen(4.0, left=7), "beside it, a quarter of it where it was"
    assert seen(6.0)
    small_regions.reset()
    assert not seen(4.0), "another stream"


def test_a_stream_gone_back_to_knows_where_its_instruments_were(weights: LoadedWeights) -> None:
    head = weights.model.instance_head
    assert head is not None
    exemplars = Exemplars(torch.zeros(0, EMBEDDING), torch.zeros(0).long())
    labeler = InstanceClassifier(head, exemplars, 1)

    def seen(logit: float) -> bool:
        own = torch.full((1, 1, 64, 64), -8.0)
        own[..., 4:8, 4:8] = logit
        none = torch.zeros(0)
        answer = labeler.predict(HeadOutput(own, torch.zeros(1, VOTE, 64, 64), none, none))
        return bool((answer.mask_logits > 0).any())

    assert seen(6.0)
    state = labeler.snapshot()
    assert not seen(-6.0)
    assert not seen(4.0)
    labeler.restore(state)
    assert seen(4.0)
    labeler.reset()
    assert not seen(4.0)

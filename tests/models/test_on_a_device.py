"""What an engine for GPUs does with pictures, steps and attention, as far as a processor can tell.

Graph capture is stood in for by a function that is run again into the same buffers; everything
else, from a picture's bytes to the map of classes, is what runs on a GPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import library

import models.engines.gpu.cuda_graph as cuda_graph
from models.backbone.gpu_attention import attend_all, attend_on_gpu
from models.backbone.image_input import MAX_MAP_SIDE, class_map, resize_image
from models.backbone.memory_attention import BankTensors, _Turn
from models.backbone.memory_bank import BankShape, Entries, MemoryBank
from models.engines.gpu.class_maps import (
    class_shares,
    decide_classes,
    enlarge_classes,
    page_locked,
)
from models.engines.gpu.cuda_graph import Captured
from models.engines.gpu.resize import resize_for
from models.engines.graphs import FULL
from models.engines.interface import EngineChoice
from models.method.checkpoint import LoadedWeights
from models.method.profile import Calibration, load_profile
from models.phantom import DEMO_SEED, Procedure
from models.tensor_tree import module_on, placed, tensors_in
from models.tracking.ablation import Ablation
from models.tracking.frame_functions import DescribeTokens
from models.tracking.memory_strategy import MemoryStrategy
from models.tracking.postprocess import postprocess
from models.tracking.strategy import Prediction
from models.tracking.tracker import Tracker
from models.types import UNNAMED_ID, Update
from tests.support.captured_steps import CPU, CapturedSteps, demo_frames, stand_in


@pytest.mark.parametrize("instances", [False, True])
def test_recorded_steps_see_and_learn_what_torch_does(
    weights: LoadedWeights, instances: bool, captured_steps: None, one_thread: None
) -> None:
    """Until the bank is full and after, and when the picture's size changes on the way."""
    profile = load_profile("phantom")
    profile = replace(profile, memory=replace(profile.memory, recent=1))
    ablation = Ablation(gamma=0.0, instances=instances)
    oracle = Tracker(weights, profile, ablation)
    other = Tracker(weights, profile, ablation, EngineChoice("cuda_graph"))
    taught = []
    for image in (*demo_frames(101, 6), *demo_frames(101, 3, (288, 384)), *demo_frames(101, 3)):
        expected, found = oracle.step(image), other.step(image)
        assert found.class_map.shape == image.shape[:2]
        differing = found.class_map != expected.class_map
        assert differing.mean() < 1e-3, "a pixel or two may round the other way"
        assert [one.update for one in found.results] == [one.update for one in expected.results]
        for one, wanted in zip(found.results, expected.results, strict=True):
            assert one.present == wanted.present
            assert one.area == pytest.approx(wanted.area, abs=1e-3)
            assert one.confidence == pytest.approx(wanted.confidence, abs=5e-3)
        taught.append(Update.ACCEPTED in [one.update for one in found.results])
    assert instances or any(taught)
    engine = other.engine
    assert isinstance(engine, CapturedSteps)
    assert engine.steps == (2 if instances else 4), "two picture sizes; a bank full or not"
    ran = {name for name, _ in engine.captured}
    assert instances or {FULL, "attend_memory"} <= ran


def test_a_recorded_step_keeps_nothing_of_pictures_of_many_sizes(
    weights: LoadedWeights, captured_steps: None, one_thread: None
) -> None:
    tracker = Tracker(weights, load_profile("phantom"), None, EngineChoice("cuda_graph"))
    for side in (64, 96, 128, 160, 64):
        tracker.step(np.zeros((side, side, 3), np.uint8))
        assert len(tracker._preparer._recorded) <= 2


def test_what_is_not_a_number_is_seen_on_the_device_too(
    weights: LoadedWeights, captured_steps: None, one_thread: None
) -> None:
    ablation = Ablation(gamma=0.5, instances=False)
    tracker = Tracker(weights, load_profile("phantom"), ablation, EngineChoice("cuda_graph"))
    image = demo_frames(101, 1)[0]
    expected = tracker.step(image).class_map
    tracker.reset()
    state = tracker.save()
    state[0][:] = np.nan
    tracker.load(state)
    found = tracker.step(image)
    assert [one.update for one in found.results] == [Update.ROLLED_BACK] * len(found.results)
    assert (found.class_map == expected).mean() > 0.999


@pytest.mark.parametrize("engine", ["torch", "cuda_graph"])
def test_a_frame_whose_description_is_not_a_number_teaches_nothing(
    weights: LoadedWeights,
    engine: str,
    captured_steps: None,
    one_thread: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ablation = Ablation(gamma=0.0, instances=False)
    tracker = Tracker(weights, load_profile("phantom"), ablation, EngineChoice(engine))
    image = demo_frames(101, 1)[0]
    results, strategy = tracker.segment(image).results, tracker.strategy
    assert any(one.present for one in results), "its masks are shown"
    assert isinstance(strategy, MemoryStrategy)
    assert strategy._seen is not None
    nothing = torch.full_like(strategy._seen.token_features, float("nan"))
    monkeypatch.setattr(strategy, "_seen", replace(strategy._seen, token_features=nothing))
    assert set(tracker.update()) == {Update.ROLLED_BACK}
    assert Update.ACCEPTED in [one.update for one in tracker.step(image).results]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1080, 1920, 512), (480, 640, 256), (200, 300, 256), (90, 400, 96)],
)
def test_a_picture_resized_on_the_device_is_opencvs(height: int, width: int, size: int) -> None:
    scene = Procedure(DEMO_SEED).clip(30, size=(height, width))
    image = scene.render(0.0).image_rgb
    image.setflags(write=False)  # as a frame may come
    resize = resize_for((height, width), size, CPU)
    found = resize(page_locked(image))[0].permute(1, 2, 0).numpy()
    off = np.abs(found - resize_image(image, size).astype(np.float32))
    assert off.max() <= 1
    assert off.mean() < 0.005


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920), (200, 300)])
def test_classes_drawn_on_the_device_are_opencvs(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 4, 16, 16, generator=generator) - 0.3
    logits = F.interpolate(coarse, 64, mode="bicubic")[0]
    ids = [3, 7, 9, 200]
    wanted = torch.tensor(ids, dtype=torch.uint8)
    decided = decide_classes(logits, wanted, shape, MAX_MAP_SIDE)
    found = enlarge_classes(decided, shape)
    expected = class_map(logits.numpy(), ids, shape)
    assert (found.numpy() == expected).mean() > 0.9999
    assert set(np.unique(expected)) == {0, *ids}
    shares = [float((found == one).float().mean()) for one in ids]
    assert class_shares(decided, wanted, shape).tolist() == pytest.approx(shares, abs=1e-6)


def test_an_answer_is_finished_on_the_device_as_beside_it() -> None:
    """Two classes, one of them absent, and an instrument of unknown kind."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 3, 12, 12, generator=generator) - 0.3
    logits = F.interpolate(coarse, 64, mode="bicubic")[0]
    there = torch.tensor([1.0, -1.0])
    answer = Prediction(logits[:2, None], there, torch.tensor([0.7, 0.2]), logits[2:])
    calibration = Calibration(torch.ones(2), torch.zeros(2))
    each = [
        postprocess(answer, calibration, [4, 9], (480, 640), on_device=on_device)
        for on_device in (False, True)
    ]
    beside, on_it = each
    assert beside is not None
    assert on_it is not None
    assert (beside.class_map == on_it.class_map).mean() > 0.9999
    assert set(np.unique(on_it.class_map)) == {0, 4, UNNAMED_ID}
    assert beside.present == on_it.present == [True, False]
    assert on_it.area == pytest.approx(beside.area, abs=1e-4)
    assert on_it.area[0] > 0.1


def test_attention_on_a_gpu_takes_one_frame_for_all_rows() -> None:
    query, key, value = torch.randn(1, 20, 32), torch.randn(3, 50, 32), torch.randn(3, 50, 16)
    expected = F.scaled_dot_product_attention(query, key, value)
    found = attend_on_gpu(query, key, value, None)
    assert found.dtype == value.dtype, "products in bf16, but what comes after them as before"
    torch.testing.assert_close(found.float(), expected, atol=2e-2, rtol=2e-2)
    library.opcheck(attend_all, (query.expand(3, -1, -1).contiguous(), key, value))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("queries", [200, 10_000], ids=["keys in parts", "all keys at once"])
@pytest.mark.parametrize("gathered", [64, 128])
@pytest.mark.parametrize("masked", [True, False])
def test_the_kernel_passes_over_empty_places(queries: int, gathered: int, masked: bool) -> None:
    from models.backbone.attention_kernel import attend

    query, key, value = (
        torch.randn(2, n, d, device="cuda").bfloat16()
        for n, d in ((queries, 128), (330, 128), (330, gathered))
    )
    bias = torch.zeros(2, 1, 330, device="cuda")
    if masked:
        bias[0, 0, :100], bias[1, 0, 50:90] = float("-inf"), float("-inf")
    floats = [one.float() for one in (query, key, value)]
    expected = F.scaled_dot_product_attention(*floats, bias.expand(2, queries, 330))
    found = attend(query, key, value, bias if masked else None)
    torch.testing.assert_close(found.float(), expected, atol=1e-2, rtol=1e-2)
    key[0, 200] = float("nan")
    spoilt = attend(query, key, value, bias if masked else None)
    assert spoilt[0].isnan().all(), "what is not a number shows"
    torch.testing.assert_close(spoilt[1], found[1], rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernel_that_shrinks_a_picture_is_opencvs() -> None:
    image = Procedure(DEMO_SEED).clip(30, size=(480, 640)).render(0.0).image_rgb
    picture = page_locked(image).to("cuda")
    found = resize_for((480, 640), 256, picture.device)(picture)[0].permute(1, 2, 0).cpu().numpy()
    np.testing.assert_allclose(found, resize_image(image, 256), atol=1)


def test_turning_what_is_projected_is_projecting_and_turning() -> None:
    linear, tokens = torch.nn.Linear(16, 32), torch.randn(2, 10, 16)
    turn = _Turn(torch.randn(10, 32), torch.randn(10, 32))
    with torch.no_grad():
        torch.testing.assert_close(turn.turned(linear(tokens)), turn.project(linear, tokens))


def test_a_bank_knows_when_it_is_full(weights: LoadedWeights) -> None:
    shape = BankShape(2, 1, 2, weights.model.config.backbone)
    bank = MemoryBank(shape, 15)
    entry = Entries(torch.randn(1, 64, 16, 16), torch.randn(1, 128))
    for row in range(2):
        assert not bank.tensors(0).full
        bank.set_support(row, entry)
    both = Entries(entry.memory.repeat(2, 1, 1, 1), entry.pointer.repeat(2, 1))
    rows = torch.arange(2)
    bank.push(rows, both, 0)
    half = bank.snapshot()
    assert not bank.tensors(1).full
    bank.push(rows, both, 1)
    assert bank.tensors(2).full
    bank.restore(half)
    assert not bank.tensors(2).full
    bank.push(rows, both, 2)
    bank.forget_recent()
    assert not bank.tensors(3).full


def test_shared_weights_stay_where_they_are() -> None:
    head = torch.nn.Linear(2, 2)
    assert module_on(head, CPU) is head
    moved = module_on(head, torch.device("meta"))
    assert moved.weight.device.type == "meta"
    assert head.weight.device.type == "cpu"


def test_walking_through_dataclasses_finds_every_tensor() -> None:
    bank = BankTensors(*(torch.full((1,), float(n)) for n in range(5)), version=(7,), full=True)
    assert [float(one) for one in tensors_in((bank, {"a": torch.tensor(9.0)}))] == [
        0,
        1,
        2,
        3,
        4,
        9,
    ]
    kept = placed(bank, CPU)
    assert (kept.version, kept.full) == ((7,), True)


def test_a_frame_described_is_the_same_in_any_thread_of_recorded_steps() -> None:
    """Copies go in and come out: what a caller keeps is not overwritten by the next call."""
    function = DescribeTokens(4, load_profile("phantom").learner)
    features, image = torch.randn(1, 128, 4, 4), torch.randn(1, 3, 64, 64)
    before = cuda_graph._capture
    cuda_graph._capture = stand_in
    try:
        step: Captured[Any] = Captured(function, features, image, device=CPU)
        first = step(features, image)
        kept = [one.clone() for one in first]
        step(features * 2 + 1, image + 1)
    finally:
        cuda_graph._capture = before
    for one, other in zip(first, kept, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)

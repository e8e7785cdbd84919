"""The instance head adapted to annotated frames: kept where it gains, refused where it loses."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.config import FitConfig
from models.engines.interface import EngineChoice
from models.errors import ProfileError
from models.fitting import adoption as adoption_module
from models.fitting.adapting import Adaptation
from models.fitting.adoption import Adoption, adopt_head
from models.fitting.annotated import AnnotatedFrames
from models.fitting.encoded import encode_frames
from models.fitting.fit import fit_frames
from models.fitting.validation import held_out_frames, leave_one_out, names_lost
from models.instances.instance_head import InstanceHead
from models.method.adapted_head import head_tensors
from models.method.checkpoint import LoadedWeights
from models.method.profile import Profile, load_profile, save_profile
from models.phantom import Procedure
from models.tracking.tracker import Tracker
from models.types import IGNORE_ID, ClassSpec, UInt8Array
from tests.support.captured_steps import demo_frames

TOOL = ClassSpec(1, "tool", "#3fb950")
Pair = tuple[UInt8Array, UInt8Array]


def seen_strangely(image_rgb: UInt8Array) -> UInt8Array:
    """A look no training had: a negative in which red and blue have changed places."""
    return np.ascontiguousarray(255 - image_rgb[..., ::-1])


def pictures(clips: range) -> list[Pair]:
    """A moment of each clip of one procedure, any instrument as one class."""
    procedure = Procedure(8)
    frames = [procedure.clip(number, size=(192, 192)).render(2.0) for number in clips]
    return [(seen_strangely(f.image_rgb), (f.class_mask > 0).astype(np.uint8)) for f in frames]


def annotated(pairs: list[Pair]) -> AnnotatedFrames:
    return AnnotatedFrames.of(pairs, [1], 256)


def foreground_dsc(weights: LoadedWeights, profile: Profile, pairs: list[Pair]) -> float:
    scores = []
    for image, mask in pairs:
        found = Tracker(weights, profile).step(image).class_map
        scores.append(2 * ((found > 0) & (mask > 0)).sum() / max((found > 0).sum() + mask.sum(), 1))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def adapted(weights: LoadedWeights) -> Profile:
    """Fitted on three pictures of a strange look, with fewer steps than usual."""
    profile, report = fit_frames(
        weights, (TOOL,), annotated(pictures(range(3))), FitConfig(adapt=24)
    )
    assert report.adoption.frames == 3
    assert report.adoption.after > report.adoption.before
    return profile


def test_adapting_finds_instruments_in_a_look_that_was_not_trained(
    weights: LoadedWeights, adapted: Profile
) -> None:
    others = pictures(range(3, 9))
    shipped, _ = fit_frames(weights, (TOOL,), annotated(pictures(range(3))), FitConfig())
    assert foreground_dsc(weights, adapted, others) > foreground_dsc(weights, shipped, others) + 0.1


def test_an_adapted_head_is_read_back_as_it_was_written(
    weights: LoadedWeights, adapted: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "p.safetensors"
    save_profile(adapted, path)
    image = pictures(range(9, 10))[0][0]
    first = Tracker(weights, adapted).step(image)
    second = Tracker(weights, load_profile(path)).step(image)
    assert np.array_equal(first.class_map, second.class_map)
    assert adapted.backbone_sha256 == weights.sha256, "the trunk is the same"


def test_a_head_that_loses_on_held_out_pictures_is_refused(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(_: Adaptation, head: InstanceHead, *__: object) -> InstanceHead:
        worse = copy.deepcopy(head)
        with torch.no_grad():
            worse.out.weight.neg_()
        return worse

    monkeypatch.setattr(Adaptation, "adapted", spoilt)
    profile, report = fit_frames(
        weights, (TOOL,), annotated(pictures(range(4))), FitConfig(adapt=1)
    )
    assert report.adoption.after < report.adoption.before
    assert profile.head is None


def test_what_is_held_out_is_answered_by_a_head_that_has_not_seen_it(
    weights: LoadedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pictures of each of three clips: the other of its clip counts as seen too."""
    frames = replace(annotated(pictures(range(6))), clip=(0, 0, 1, 1, 2, 2))
    trained_on: list[list[int]] = []

    def note(_: Adaptation, head: InstanceHead, given: list[object], *__: object) -> InstanceHead:
        numbers = [n for n, one in enumerate(frames.pictures) if any(one is g for g in given)]
        marked = copy.deepcopy(head)
        marked.out.bias[0] += 10.0 + len(trained_on)  # what it says tells who says it
        trained_on.append(numbers)
        return marked

    monkeypatch.setattr(Adaptation, "adapted", note)
    monkeypatch.setattr(adoption_module, "MARGIN", -1.0)
    model = weights.model
    encoded = encode_frames(model, frames)
    found: Adoption = adopt_head(model, frames, encoded, FitConfig(adapt=1))
    assert model.instance_head is not None
    assert sorted(found.instrument) == list(range(6))
    assert trained_on[-1] == list(range(6))
    with torch.no_grad():
        for n, logits in found.instrument.items():
            own = adoption_module.instrument_logits(model.instance_head, encoded, n)
            teacher = trained_on[round(float((logits - own).mean()) - 10)]
            assert not {n, n ^ 1} & set(teacher)


@pytest.mark.parametrize("name", ["instrument", "phantom"])
def test_an_engine_sees_what_torch_sees_with_an_adapted_head(
    name: str, weights: LoadedWeights
) -> None:
    """One class, and several: there a second head says what is instrument."""
    assert weights.model.instance_head is not None
    other = copy.deepcopy(weights.model.instance_head)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in other.parameters():
            weight *= 1 + 0.05 * torch.randn(weight.shape, generator=generator)
        other.out.bias[0] += 2.0
    profile = replace(load_profile(name), head=head_tensors(other))
    shipped, torch_one = Tracker(weights, load_profile(name)), Tracker(weights, profile)
    onnx = Tracker(weights, profile, engine=EngineChoice("onnx", "f32"))
    overlap, union, changed = 0, 0, 0
    for image in demo_frames(20, 12):
        wanted, found = torch_one.step(image).class_map, onnx.step(image).class_map
        overlap += int(((wanted == found) & (wanted > 0)).sum())
        union += int(((wanted > 0) | (found > 0)).sum())
        changed += int((wanted != shipped.step(image).class_map).sum())
    assert overlap / union > 0.99
    assert changed > 1000, "it is the adapted head that answers"


def test_a_head_of_another_shape_is_refused(weights: LoadedWeights) -> None:
    profile = replace(load_profile("instrument"), head={"out.weight": torch.zeros(2, 2)})
    with pytest.raises(ProfileError, match="profile's head does not fit this backbone"):
        Tracker(weights, profile)


def test_one_picture_adapts_a_head_only_where_it_was_poor(weights: LoadedWeights) -> None:
    model, poor = weights.model, annotated(pictures(range(1)))
    config = FitConfig(adapt=2)
    found = adopt_head(model, poor, encode_frames(model, poor), config)
    assert found.head is not None
    assert np.isnan(found.after), "there is no other picture to test it on"
    procedure = Procedure(8).clip(0, size=(192, 192)).render(2.0)
    usual = annotated([(procedure.image_rgb, (procedure.class_mask > 0).astype(np.uint8))])
    assert adopt_head(model, usual, encode_frames(model, usual), config).head is None
    followed = replace(config, follow=True)
    assert adopt_head(model, poor, encode_frames(model, poor), followed).head is None


def test_pixels_that_nobody_knows_teach_nothing(weights: LoadedWeights) -> None:
    """The loss is blind to them, and to what lies outside a turned picture."""
    from models.fitting.adapting import instrument_loss

    logits, cover = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    known = torch.ones(1, 1, 8, 8)
    known[..., 4:] = 0
    wrong = logits.clone()
    wrong[..., 4:] = 9.0
    assert torch.equal(instrument_loss(logits, cover, known), instrument_loss(wrong, cover, known))
    assert IGNORE_ID == 255


def test_a_head_that_costs_names_is_noticed(weights: LoadedWeights) -> None:
    """Everything being instrument, absent classes are named too."""
    procedure, model = Procedure(8), weights.model
    shown = [procedure.clip(n, size=(192, 192)).render(2.0 + t) for n in range(3) for t in (0, 2)]
    pairs = [(frame.image_rgb, frame.class_mask) for frame in shown]
    ids = sorted({int(i) for _, mask in pairs for i in np.unique(mask)} - {0})
    encoded = encode_frames(model, AnnotatedFrames.of(pairs, ids, 256))
    held_out = held_out_frames(encoded, FitConfig())
    assert len(held_out) > 1
    left_out = leave_one_out(model, encoded, held_out, weights.ridge)
    assert model.instance_head is not None
    own = [
        adoption_module.instrument_logits(model.instance_head, encoded, o.frame) for o in held_out
    ]
    everything = [torch.full_like(one, 9.0) for one in own]
    assert not names_lost(model, left_out, replace(left_out, instrument=own))
    assert names_lost(model, left_out, replace(left_out, instrument=everything))

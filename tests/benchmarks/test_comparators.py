"""Every comparator learns from its labels; the same small phantom task for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.comparators import retrieval, support_memory
from benchmarks.comparators.interface import Fit, FitSettings, Predictor, PromptedPredictor
from benchmarks.comparators.ofl_sam2 import OflSam2Fits
from benchmarks.comparators.support_memory import Ask, choose_offset
from benchmarks.paper.methods import ABLATIONS, COMPARATORS
from models.config import FitConfig
from models.fitting.annotated import AnnotatedFrames
from models.fitting.encoded import EncodedFrames
from models.fitting.validation import held_out_frames
from models.method.checkpoint import LoadedWeights
from models.phantom import CLASSES, Procedure
from models.types import ClassSpec, UInt8Array

Pairs = list[tuple[UInt8Array, UInt8Array]]


@dataclass(frozen=True)
class Task:
    """Frames of two clips for fitting, of a third to test on; one procedure, two kinds."""

    classes: tuple[ClassSpec, ...]
    fit: Pairs
    test: Pairs

    def frames(self, pairs: Pairs) -> AnnotatedFrames:
        return AnnotatedFrames.of(pairs, [spec.class_id for spec in self.classes], 256)


@pytest.fixture(scope="module")
def task() -> Task:
    procedure = Procedure(8)

    def clip(index: int) -> Pairs:
        scene = procedure.clip(index, size=(96, 128))
        frames = [scene.render(1.0 * second) for second in range(3)]
        return [(frame.image_rgb, frame.class_mask) for frame in frames]

    classes = tuple(spec for spec in CLASSES if spec.class_id in procedure.kinds)
    return Task(classes, clip(4) + clip(0), clip(5))


@pytest.fixture(scope="module")
def fits(weights: LoadedWeights, task: Task) -> OflSam2Fits:
    """Profiles of the task."""
    return OflSam2Fits(weights, task.classes, task.frames(task.fit), FitSettings())


def any_dsc(predictor: Predictor, pairs: Pairs) -> float:
    """DSC of all classes together over all frames."""
    predictor.start()
    overlap, total = 0, 0
    for image, truth in pairs:
        found = predictor.step(image) > 0
        overlap += 2 * int((found & (truth > 0)).sum())
        total += int(found.sum()) + int((truth > 0).sum())
    return overlap / total


def class_dsc(predictor: Predictor, pairs: Pairs, classes: tuple[ClassSpec, ...]) -> float:
    """Mean over classes of their DSC over all frames."""
    predictor.start()
    answers = [(predictor.step(image), truth) for image, truth in pairs]
    return float(
        np.mean(
            [
                sum(2 * int(((f == c.class_id) & (t == c.class_id)).sum()) for f, t in answers)
                / sum(int((f == c.class_id).sum() + (t == c.class_id).sum()) for f, t in answers)
                for c in classes
            ]
        )
    )


def fit_of(name: str) -> Fit:
    fit = COMPARATORS[name].fit
    assert fit is not None
    return fit


@pytest.mark.parametrize(
    ("name", "effort"),
    [("prototypes", 0.3), ("lora_plain", 0.3), ("lora_hierarchical", 0.12), ("unet", 0.12)],
)
def test_training_beats_the_untrained_state(
    name: str, effort: float, weights: LoadedWeights, task: Task
) -> None:
    frames, fit = task.frames(task.fit), fit_of(name)
    untrained = fit(weights, task.classes, frames, FitSettings(effort=0.0))
    trained = fit(weights, task.classes, frames, FitSettings(effort=effort))
    before = class_dsc(untrained, task.fit, task.classes)
    assert class_dsc(trained, task.fit, task.classes) > before + 0.05


@pytest.mark.parametrize("name", ["support_memory", "retrieval", "color"])
def test_annotated_frames_teach_what_the_classes_are(
    name: str, weights: LoadedWeights, task: Task
) -> None:
    """On what was annotated; told the wrong way round it does worse: it is the labels it uses."""
    first, second = (spec.class_id for spec in task.classes)
    swapped = [
        (image, np.select([mask == first, mask == second], [second, first], 0).astype(np.uint8))
        for image, mask in task.fit
    ]
    fit, settings = fit_of(name), FitSettings()
    right = fit(weights, task.classes, task.frames(task.fit), settings)
    wrong = fit(weights, task.classes, task.frames(swapped), settings)
    reached = class_dsc(right, task.fit[:3], task.classes)
    assert reached > 0.3
    assert reached > class_dsc(wrong, task.fit[:3], task.classes) + 0.1


@pytest.mark.parametrize("module", [support_memory, retrieval])
def test_a_left_out_frame_is_answered_without_its_clip(
    module: ModuleType, weights: LoadedWeights, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OFL-SAM2's are: whatever the rest of its clip was annotated with."""
    answers: list[Tensor] = []

    def answered(encoded: EncodedFrames, ask: Ask, seed: int) -> float:
        first = held_out_frames(encoded, FitConfig())[0]
        assert (first.frame, first.without) == (0, (0, 1, 2))
        answers.append(ask(first).mask_logits)
        return choose_offset(encoded, ask, seed)

    monkeypatch.setattr(module, "choose_offset", answered)
    pairs = [(image, (mask > 0).astype(np.uint8)) for image, mask in task.fit]
    wrong = [(image, 1 - mask) for image, mask in pairs[1:3]]
    for mates in (pairs[1:3], wrong):
        given = [pairs[0], *mates, *pairs[3:]]
        frames = AnnotatedFrames.of(given, [1], 256, (0, 0, 0, 1, 1, 1))
        module.fit(weights, (ClassSpec(1, "any", "#00ff00"),), frames, FitSettings())
    assert torch.equal(*answers)


def test_a_first_mask_is_followed_and_nothing_else(weights: LoadedWeights, task: Task) -> None:
    fit = fit_of("sam2_first_mask")
    predictor = fit(weights, task.classes, task.frames(task.fit), FitSettings())
    assert isinstance(predictor, PromptedPredictor)
    (image, truth), rest = task.test[0], task.test[1:]
    predictor.start()
    assert not predictor.step(image).any(), "without a prompt there is nothing to follow"
    predictor.start()
    only = task.classes[0].class_id
    predictor.prompt(image, np.where(truth == only, truth, 0).astype(np.uint8))
    answers = [(predictor.step(picture), mask == only) for picture, mask in rest]
    assert {int(one) for found, _ in answers for one in np.unique(found)} <= {0, only}
    overlap = sum(2 * int(((found == only) & mask).sum()) for found, mask in answers)
    total = sum(int((found == only).sum()) + int(mask.sum()) for found, mask in answers)
    assert overlap / total > 0.5


def test_same_seed_same_answer(weights: LoadedWeights, task: Task, one_thread: None) -> None:
    frames, fit, settings = task.frames(task.fit), fit_of("lora_plain"), FitSettings(3, 0.02)
    one, other = (fit(weights, task.classes, frames, settings) for _ in range(2))
    for image, _ in task.test:
        assert np.array_equal(one.step(image), other.step(image))


def test_the_backbone_stays_as_it_is(weights: LoadedWeights, task: Task) -> None:
    before = {key: value.clone() for key, value in weights.model.state_dict().items()}
    for name in ("prototypes", "lora_hierarchical"):
        fit_of(name)(weights, task.classes, task.frames(task.fit), FitSettings(effort=0.01))
    for key, value in weights.model.state_dict().items():
        assert (value == before[key]).all(), key
        assert not value.requires_grad


def test_a_variant_that_is_fitted_anew_still_names(fits: OflSam2Fits, task: Task) -> None:
    variant = ABLATIONS["kernel_3_no_context"].variant
    assert variant is not None
    assert class_dsc(fits.predictor(variant), task.test, task.classes) > 0.2


def test_blind_updates_teach_where_the_gate_would_not(fits: OflSam2Fits, task: Task) -> None:
    taught = {}
    for name in ("no_instances", "blind_update"):
        method = ABLATIONS[name]
        assert method.variant is not None
        predictor = fits.predictor(method.variant)
        any_dsc(predictor, task.test)
        taught[name] = predictor.updates["accepted"]
        assert predictor.updates["rolled_back"] == 0 or name == "no_instances"
    assert taught["blind_update"] > taught["no_instances"]

"""Profiles: fitted, written, read back, refused when they are not what they should be."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality.metrics import dsc
from models.config import EMBEDDED_PROFILES, FitConfig
from models.datasets.folder import open_folder
from models.errors import DatasetError, ProfileError
from models.fitting import fit
from models.fitting.annotated import AnnotatedFrames, draw_shots, visible_classes
from models.fitting.fit import fit_frames, fit_profile
from models.method.checkpoint import LoadedWeights
from models.method.profile import Profile, load_profile, save_profile
from models.phantom import Procedure
from models.tracking.ablation import Ablation
from models.tracking.tracker import Tracker
from models.types import BACKGROUND_ID, IGNORE_ID, ClassSpec, UInt8Array


@pytest.fixture(scope="module")
def fitted(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "p.safetensors"
    report = fit_profile(open_folder(phantom_folder), shots=6, seed=1, out=path, progress=False)
    assert report.frames == 6
    return path


@pytest.mark.parametrize("name", EMBEDDED_PROFILES)
def test_embedded_profiles_belong_to_the_embedded_weights(
    name: str, weights: LoadedWeights
) -> None:
    profile = load_profile(name)
    assert profile.backbone_sha256 == weights.sha256
    assert Tracker.open(name).classes == profile.classes


def test_what_was_fitted_is_what_is_read(fitted: Path, weights: LoadedWeights) -> None:
    profile = load_profile(fitted)
    image = Procedure(3).clip(7, size=(120, 160)).render(0.0).image_rgb
    again = fitted.with_name("again.safetensors")
    save_profile(profile, again)
    first = Tracker(weights, profile).step(image)
    second = Tracker(weights, load_profile(again)).step(image)
    assert np.array_equal(first.class_map, second.class_map)


def test_a_profile_is_a_file_like_any_other(
    fitted: Path, phantom_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.touch()
    assert fitted.stat().st_mode == other.stat().st_mode, "whoever may read files may read it"
    with pytest.raises(ProfileError, match=r"expected a file for the profile, .* is a folder"):
        fit_profile(open_folder(phantom_folder), shots=2, out=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == [other]


def test_fitting_is_a_function_of_its_seed(
    phantom_folder: Path, weights: LoadedWeights, one_thread: None
) -> None:
    dataset = open_folder(phantom_folder)
    profiles: list[Profile] = []
    for _ in range(2):
        drawn = draw_shots(dataset, 5, 2)
        classes = visible_classes(dataset.classes, drawn.pairs)
        ids = [s.class_id for s in classes]
        frames = AnnotatedFrames.of(drawn.pairs, ids, 256, drawn.clip)
        profiles.append(fit_frames(weights, classes, frames, FitConfig(seed=2))[0])
    assert torch.equal(profiles[0].start.tau, profiles[1].start.tau)
    assert torch.equal(profiles[0].calibration.slope, profiles[1].calibration.slope)
    for key, value in profiles[0].fusion.items():
        assert torch.equal(value, profiles[1].fusion[key])


def test_ignored_instruments_are_not_taught_as_background(weights: LoadedWeights) -> None:
    """One kind is annotated as instrument; the others are ignored, or called background.

    Asked of other clips: any instrument. By the head, and by the memory path with pixels named.
    """
    procedure = Procedure(41_003)
    moments = [(clip, t) for clip in range(4) for t in (1.0, 3.0, 5.0)]
    given = [procedure.clip(clip).render(t) for clip, t in moments]
    asked = [procedure.clip(clip).render(t) for clip in (10, 11) for t in (0.0, 0.8, 1.6)]
    instrument, own = ClassSpec(1, "instrument", "#3fb950"), procedure.kinds[0]

    def annotated(truth: UInt8Array, others: int) -> UInt8Array:
        ids = np.where(truth > 0, others, BACKGROUND_ID)
        return np.where(truth == own, 1, ids).astype(np.uint8)

    def reached(others: int, ablation: Ablation) -> float:
        pairs = [(f.image_rgb, annotated(f.class_mask, others)) for f in given]
        frames = AnnotatedFrames.of(pairs, [1], 256)
        config = FitConfig(instances=ablation.instances, progress=False)
        profile, _ = fit_frames(weights, (instrument,), frames, config)
        tracker = Tracker(weights, profile, ablation)
        found = [tracker.step(frame.image_rgb).class_map > 0 for frame in asked]
        pairs_of = zip(found, asked, strict=True)
        return float(np.mean([dsc(mask, frame.class_mask > 0) for mask, frame in pairs_of]))

    for ablation in (Ablation(), Ablation(instances=False)):
        ignored, wrong = reached(IGNORE_ID, ablation), reached(BACKGROUND_ID, ablation)
        assert ignored > wrong + 0.02
    assert reached(IGNORE_ID, Ablation()) > 0.8


def test_no_masks_are_refused_invisible_classes_left_out_and_frames_are_not_endless(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_folder(phantom_folder)
    bare = replace(dataset, sequences=())
    with pytest.raises(DatasetError, match="no masks at all"):
        draw_shots(bare, 4, 0)
    absent = replace(dataset.classes[0], class_id=200, name="unseen")
    more = replace(dataset, classes=(*dataset.classes, absent))
    report = fit_profile(more, shots=4, out=tmp_path / "p.safetensors", progress=False)
    assert report.left_out[-1] == "unseen"
    assert "unseen" not in report.classes
    assert (report.frames, report.annotated) == (4, 24)
    monkeypatch.setattr(fit, "MOST_FRAMES", 3)
    report = fit_profile(dataset, out=tmp_path / "p.safetensors", progress=False)
    assert (report.frames, report.annotated) == (3, 24)
    empty = [(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))]
    with pytest.raises(DatasetError, match="only background"):
        visible_classes(dataset.classes, empty)


def test_other_weights_and_other_backbones_are_refused(
    fitted: Path, weights: LoadedWeights
) -> None:
    profile = load_profile(fitted)
    with pytest.raises(ProfileError, match="fitted for backbone tiny, this one is nano"):
        Tracker(weights, replace(profile, backbone="tiny"))
    with pytest.raises(ProfileError, match="fit it again"):
        Tracker(weights, replace(profile, backbone_sha256="0" * 64))


def test_files_that_are_no_profiles_are_refused(fitted: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(fitted.read_bytes()[:5000])
    pickled = tmp_path / "pickle.safetensors"
    pickled.write_bytes(pickle.dumps({"tau": 1}))
    for path in (cut, pickled):
        with pytest.raises(ProfileError, match="whole profile in safetensors format") as caught:
            load_profile(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ProfileError, match="instrument, phantom"):
        load_profile(tmp_path / "none")


def test_weights_are_not_a_profile() -> None:
    from models.method.checkpoint import EMBEDDED

    with pytest.raises(ProfileError, match="expected profile format"):
        load_profile(EMBEDDED)

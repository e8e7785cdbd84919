"""Profiles: fitted, written, read back, refused when they are not what they should be."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import fit
from models.annotated import AnnotatedFrames, draw_shots, visible_classes
from models.checkpoint import LoadedWeights
from models.config import FitConfig
from models.datasets.folder import open_folder
from models.errors import DatasetError, ProfileError
from models.fit import fit_frames, fit_profile
from models.phantom import Procedure
from models.profile import EMBEDDED_NAMES, Profile, load_profile, save_profile
from models.tracker import Tracker


@pytest.fixture(scope="module")
def fitted(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "p.safetensors"
    report = fit_profile(open_folder(phantom_folder), shots=6, seed=1, out=path, progress=False)
    assert report.frames == 6
    return path


@pytest.mark.parametrize("name", EMBEDDED_NAMES)
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
    from models.checkpoint import EMBEDDED

    with pytest.raises(ProfileError, match="expected profile format"):
        load_profile(EMBEDDED)

"""The phantom: a strict function of its seed, with exact masks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.phantom import CLASSES, Procedure, Shift, tissue_lit_tray
from models.phantom.contact_sheet import main

SIZE = (128, 128)


def digest(seed: int, clip: int = 0, t: float = 1.0) -> str:
    frame = Procedure(seed).clip(clip, size=SIZE).render(t)
    return hashlib.sha256(frame.image_rgb.tobytes() + frame.instance_mask.tobytes()).hexdigest()


def test_same_seed_same_frame_in_another_process_too() -> None:
    code = (
        "import hashlib; from models.phantom import Procedure;"
        "f = Procedure(5).clip(0, size=(128, 128)).render(1.0);"
        "print(hashlib.sha256(f.image_rgb.tobytes() + f.instance_mask.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(5)
    assert digest(5) != digest(6)
    assert digest(5, clip=1) != digest(5)


def test_moments_can_be_rendered_in_any_order() -> None:
    forwards, backwards = (Procedure(7).clip(0, size=SIZE) for _ in range(2))
    times = [0.0, 0.5, 1.0, 1.5]
    first = {t: forwards.render(t).image_rgb for t in times}
    for t in reversed(times):
        assert np.array_equal(backwards.render(t).image_rgb, first[t])
    assert not np.array_equal(first[0.0], first[1.5])


@pytest.mark.parametrize("seed", range(12))
def test_masks_agree_with_the_cast(seed: int) -> None:
    procedure = Procedure(seed)
    for index in range(2):
        clip = procedure.clip(index, size=SIZE)
        kinds = {one.instance_id: one.class_id for one in clip.instances}
        assert set(kinds.values()) <= set(procedure.kinds)
        frame = clip.render(2.0)
        assert np.array_equal(frame.instance_mask > 0, frame.class_mask > 0)
        for instance in np.unique(frame.instance_mask[frame.instance_mask > 0]):
            found = np.unique(frame.class_mask[frame.instance_mask == instance])
            assert found.tolist() == [kinds[int(instance)]]


def test_variety() -> None:
    kinds, shown, empty, twins = set(), 0, 0, 0
    for seed in range(60):
        procedure = Procedure(seed)
        kinds |= set(procedure.kinds)
        clip = procedure.clip(0, size=(64, 64))
        classes = [one.class_id for one in clip.instances]
        twins += len(classes) > len(set(classes))
        for t in (0.0, 3.0):
            visible = bool(clip.render(t).class_mask.any())
            shown += visible
            empty += not visible
    assert kinds == {spec.class_id for spec in CLASSES}
    assert shown > 80
    assert empty > 0, "frames without an instrument must occur"
    assert twins > 0, "two instruments of one kind must occur"


def test_a_kind_keeps_its_look_and_tissue_its_place() -> None:
    """Instruments stand out from what the same clip looks like a moment later, not from noise."""
    clip = Procedure(9).clip(0, size=SIZE)
    near, far = clip.render(1.0), clip.render(1.04)
    difference = np.abs(near.image_rgb.astype(int) - far.image_rgb.astype(int)).mean()
    other = np.abs(near.image_rgb.astype(int) - clip.render(6.0).image_rgb.astype(int)).mean()
    assert difference < other


def test_shift_changes_light_not_masks_and_only_later() -> None:
    plain = Procedure(4).clip(1, size=SIZE)
    shifted = Procedure(4).clip(1, size=SIZE, shift=Shift(at_s=1.0))
    assert np.array_equal(plain.render(0.9).image_rgb, shifted.render(0.9).image_rgb)
    before, after = plain.render(2.0), shifted.render(2.0)
    assert np.array_equal(before.class_mask, after.class_mask)
    change = np.abs(before.image_rgb.astype(int) - after.image_rgb.astype(int)).mean()
    assert change > 10


@pytest.mark.parametrize("size", [(480, 640), (120, 90), (90, 160), (33, 47)])
def test_any_shape(size: tuple[int, int]) -> None:
    frame = Procedure(2).clip(0, size=size).render(0.5)
    assert frame.image_rgb.shape == (*size, 3)
    assert frame.class_mask.shape == frame.instance_mask.shape == size


@pytest.mark.parametrize("t", [-0.1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused_not_waited_for(t: float) -> None:
    with pytest.raises(ValueError, match="expected a time of 0 s or more"):
        Procedure(2).clip(0, size=(64, 64)).render(t)


def test_impossible_seed_clip_and_size_are_named() -> None:
    with pytest.raises(ValueError, match="expected a seed of 0 or more, got -1"):
        Procedure(-1)
    with pytest.raises(ValueError, match="expected a clip index of 0 or more, got -1"):
        Procedure(2).clip(-1)
    with pytest.raises(ValueError, match="got 0x5"):
        Procedure(2).clip(0, size=(0, 5))


@pytest.mark.parametrize("arguments", [["sheet.nothing"], ["sheet.png", "-1"], ["no/such/s.png"]])
def test_contact_sheet_refuses_in_one_line(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_instruments_leave_and_come_back() -> None:
    left = 0
    for seed in range(20):
        clip = Procedure(seed).clip(0, size=(48, 48))
        masks = [clip.render(0.5 * moment).instance_mask for moment in range(20)]
        for one in clip.instances:
            shown = [bool((mask == one.instance_id).any()) for mask in masks]
            left += any(shown) and not all(shown)
    assert left >= 3


def test_instruments_lit_by_tissue_are_warmer_and_where_they_were() -> None:
    redder, count = 0, 0
    for seed in range(50_300, 50_310):
        trays = (None, tissue_lit_tray(seed))
        plain, warm = (Procedure(seed, tray).clip(0).render(1.0) for tray in trays)
        assert np.array_equal(plain.instance_mask, warm.instance_mask)
        shown = plain.instance_mask > 0
        if shown.mean() > 0.02:
            before, after = (one.image_rgb[shown].mean(axis=0) for one in (plain, warm))
            redder += after[0] / after[2] > before[0] / before[2]
            count += 1
    assert count >= 5
    assert redder / count >= 0.9

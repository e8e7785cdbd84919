"""What is left out to judge what was learnt: whole clips, as a user's next clip was never seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.config import FitConfig
from models.datasets.folder import open_folder
from models.fitting.annotated import AnnotatedFrames, Shots, draw_shots
from models.fitting.encoded import EncodedFrames, encode_frames
from models.fitting.fit import fit_frames
from models.fitting.validation import held_out_frames
from models.method.checkpoint import LoadedWeights
from models.phantom import CLASSES, Procedure

FRAMES_A_CLIP = 2


@pytest.fixture(scope="module")
def shots() -> Shots:
    """Two moments of each of three clips of one procedure."""
    procedure = Procedure(8)
    clips = [procedure.clip(number, size=(128, 128)) for number in range(3)]
    moments = [(clip, n, 2.0 * t) for n, clip in enumerate(clips) for t in range(FRAMES_A_CLIP)]
    frames = [(clip.render(t), n) for clip, n, t in moments]
    return Shots.of(((frame.image_rgb, frame.class_mask), n) for frame, n in frames)


@pytest.fixture(scope="module")
def frames(shots: Shots) -> AnnotatedFrames:
    """Any instrument, which every clip shows."""
    pairs = [(image, (mask > 0).astype("uint8")) for image, mask in shots.pairs]
    return AnnotatedFrames.of(pairs, [1], 256, shots.clip)


@pytest.fixture(scope="module")
def encoded(frames: AnnotatedFrames, weights: LoadedWeights) -> EncodedFrames:
    """Through the network once."""
    return encode_frames(weights.model, frames)


def test_a_frame_is_left_out_with_its_clip(encoded: EncodedFrames) -> None:
    held_out = held_out_frames(encoded, FitConfig())
    assert [one.frame for one in held_out] == list(range(6))
    for one in held_out:
        assert {encoded.clip[n] for n in one.without} == {encoded.clip[one.frame]}
        assert len(one.without) == FRAMES_A_CLIP


def test_a_class_that_no_other_clip_shows_stays_visible(encoded: EncodedFrames) -> None:
    present = encoded.present.clone()
    present[:, FRAMES_A_CLIP:] = False
    rare = replace(encoded, present=present)
    alone = [one for one in held_out_frames(rare, FitConfig()) if encoded.clip[one.frame] == 0]
    assert [one.without for one in alone] == [(0,), (1,)]


def test_frames_whose_clips_nobody_knows_are_left_out_alone(encoded: EncodedFrames) -> None:
    unknown = replace(encoded, clip=tuple(range(6)))
    assert [one.without for one in held_out_frames(unknown, FitConfig())] == [
        (n,) for n in range(6)
    ]


def test_drawn_frames_know_their_clip(phantom_folder: Path) -> None:
    dataset = open_folder(phantom_folder)
    drawn = draw_shots(dataset, None, 0)
    each = [len(sequence.annotated()) for sequence in dataset.sequences]
    assert sorted(drawn.clip) == [n for n, count in enumerate(each) for _ in range(count)]


def test_a_pretrained_gate_is_kept_and_trained_when_asked(
    frames: AnnotatedFrames, weights: LoadedWeights
) -> None:
    known = tuple(spec for spec in CLASSES if spec.class_id == 1)
    kept, report = fit_frames(weights, known, frames, FitConfig())
    trained, more = fit_frames(weights, known, frames, FitConfig(epochs=1))
    assert (report.fusion_epochs, more.fusion_epochs) == (0, 1)
    shipped = weights.model.fusion.state_dict()["gate.weight"]
    untouched = kept.fusion["gate.weight"]
    assert torch.equal(untouched, shipped) or not untouched.any()  # or the mapping network alone
    assert not torch.equal(trained.fusion["gate.weight"], untouched)

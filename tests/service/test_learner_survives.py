"""What was learnt outlives the model's process, unless it was taken back or is what kills it."""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass, replace

import numpy as np
import pytest

from models.method.checkpoint import LoadedWeights
from models.phantom import DEMO_SEED
from models.types import Segmentation, UInt8Array, Update
from service.live.numbers import FrameInterval
from service.model.process import ModelFailedError, ModelProcess, ModelTimes
from streaming.frame import Frame
from tests.models.test_tracker import always_sure, clip_frames
from tests.support.fakes import FakeTracker

TIMES = ModelTimes(start_s=60, first_step_s=20, step_s=10)
IMAGE = np.full((32, 32, 3), 200, np.uint8)


@dataclass
class Pupil(FakeTracker):
    """Shows as its confidence how many lessons it had, hundredths of them."""

    lessons: int = 0
    fatal: bool = False  # whatever was learnt kills the next process

    def segment(self, image_rgb: UInt8Array) -> Segmentation:
        result = super().segment(image_rgb)
        first, *others = result.results
        return replace(result, results=(replace(first, confidence=self.lessons / 100), *others))

    def update(self) -> tuple[Update, ...]:
        self.lessons += 1
        return (Update.ACCEPTED, Update.REFUSED)

    def reset(self) -> None:
        self.lessons = 0

    def rollback(self) -> None:
        self.lessons = max(0, self.lessons - 2)

    def save(self) -> int:
        return self.lessons

    def load(self, state: int) -> None:
        self.lessons = state
        if self.fatal:
            os._exit(9)


async def lessons(model: ModelProcess) -> int:
    return round((await model.step(IMAGE)).results[0].confidence * 100)


async def kill(model: ModelProcess) -> None:
    assert model.pid is not None
    os.kill(model.pid, signal.SIGKILL)
    with pytest.raises(ModelFailedError):
        await model.step(IMAGE)


@pytest.mark.parametrize(("undo", "known"), [("", {1, 2, 3, 4}), ("rollback", {2}), ("reset", {0})])
async def test_a_new_process_goes_on_where_the_last_copy_was_made(
    undo: str, known: set[int]
) -> None:
    model = ModelProcess(Pupil, TIMES)
    await model.start()
    try:
        for before in range(4):
            assert await lessons(model) == before
        if undo:
            await getattr(model, undo)()
        await kill(model)
        await model.start()
        assert await lessons(model) in known, "a copy is made every two seconds"
    finally:
        await model.close()


async def test_what_kills_the_next_process_is_not_given_to_the_one_after_it() -> None:
    model = ModelProcess(functools.partial(Pupil, fatal=True), TIMES)
    await model.start()
    try:
        await lessons(model)
        await lessons(model)
        await kill(model)
        with pytest.raises(ModelFailedError):
            await model.start()
        await model.start()
        assert await lessons(model) == 0
    finally:
        await model.close()


def test_a_tracker_goes_on_with_what_another_learnt(weights: LoadedWeights) -> None:
    teacher, other = always_sure(weights), always_sure(weights)
    fresh = other.save()
    for image in clip_frames(4, seed=DEMO_SEED, clip=100):  # what the profile is for
        teacher.step(image)
    state = teacher.save()
    assert any(not np.array_equal(one, two) for one, two in zip(state, fresh, strict=True))
    other.load(state)
    assert all(np.array_equal(one, two) for one, two in zip(state, other.save(), strict=True))
    for image in clip_frames(2, seed=DEMO_SEED, clip=101):
        other.step(image)
    assert not np.array_equal(other.save()[0], state[0]), "and learns on"
    assert sum(one.nbytes for one in state) < 8 * 2**20, "what crosses the pipe"
    assert all(type(one) is np.ndarray for one in state), "the service that holds it has no torch"


def test_the_pace_of_a_source_that_states_none_is_measured() -> None:
    pace = FrameInterval(0.04)
    captured_ns = 0
    for index in range(0, 400, 2):  # every second frame was replaced by a newer one
        pace.note(Frame(IMAGE, index, captured_ns, captured_ns))
        captured_ns += 2 * 16_666_667
    assert pace.interval_s == pytest.approx(1 / 60, rel=0.02)
    pace.note(Frame(IMAGE, 402, captured_ns, captured_ns + 30_000_000_000))
    pace.note(Frame(IMAGE, 0, captured_ns, captured_ns + 31_000_000_000))
    assert pace.interval_s == pytest.approx(1 / 60, rel=0.02), "silence is no pace"

"""A model that is killed, hangs, dies or raises: the picture goes on, and it comes back."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess

import pytest

from service.log import open_logging
from service.model.process import ModelFailedError, ModelProcess
from tests.support.asking import ask
from tests.support.fakes import FakeTracker
from tests.support.live_service import Server, Viewer, post_json, serving
from tests.support.scripted_service import app_with, frames


async def shows_plain_then_recovers(server: Server, viewer: Viewer, badge: str) -> None:
    """The badge comes, the picture goes on meanwhile, the overlay comes back by itself."""
    await server.until(badge)
    before = len(viewer.frames)
    await frames(viewer, before + 3)
    status = await server.until("DEMO", seconds=30)
    assert status["frames_shown_plain"] > 0
    after = len(viewer.frames)
    await frames(viewer, after + 10)


async def test_model_killed() -> None:
    async with serving(app_with()) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        pid = server.session.model_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await shows_plain_then_recovers(server, viewer, "AI OFF")
        assert (await server.status())["model_starts"] == 2


async def test_model_hangs() -> None:
    async with serving(app_with(hang_at=(25,))) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI LATE")
        assert (await server.status())["model_starts"] >= 2


async def test_model_dies_by_itself() -> None:
    async with serving(app_with(die_at=(25,))) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI OFF")


async def test_model_raises_and_goes_on() -> None:
    async with serving(app_with(raise_at=(25, 30, 31, 35))) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    assert status["model_failures"] == 4
    assert status["model_starts"] == 1, "one bad frame, or two, are no reason"
    assert status["badge"] == "DEMO"


async def test_a_model_that_does_nothing_but_raise_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after a CUDA error, which stays until its process ends."""
    forever = tuple(range(25, 10_000))
    async with serving(app_with(raise_at=forever)) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI OFF")
        status = await server.status()
    assert status["model_starts"] >= 2
    assert status["model_failures"] >= 3
    said = [one.getMessage() for one in caplog.records if "model failed" in one.getMessage()]
    assert said[:2] == [
        "model failed: step failed: RuntimeError",
        "model failed: 3 steps in a row failed: RuntimeError",
    ]
    assert len(said) <= 2 * status["model_starts"]


async def test_a_model_that_never_works_is_started_ever_less_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.live.supervisor.RESTART_S", (0.2, 60.0))
    forever = tuple(range(1, 10_000))
    async with serving(app_with(raise_at=forever)) as server, server.viewer() as viewer:
        await frames(viewer, 100)
        status = await server.status()
    assert status["badge"] == "AI OFF"
    assert 2 <= status["model_starts"] <= 7
    assert status["model_failures"] <= 3 * status["model_starts"]
    assert caplog.text.count("model failed") <= status["model_starts"] + 1, "not once a frame"


async def test_a_learner_that_fails_costs_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    raising = (25, 26, 27, 28)
    async with serving(app_with(learner_raises_at=raising)) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    assert status["learner_failures"] == len(raising)
    assert caplog.text.count("learner failed") == 1, "said once, not per frame"
    assert status["model_failures"] == 0
    assert status["frames_shown_plain"] == 0
    assert status["badge"] == "DEMO"


async def test_a_learner_frozen_while_the_model_restarts_stays_frozen() -> None:
    async with serving(app_with(open_s=1.5)) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        pid = server.session.model_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await server.until("AI OFF")
        await asyncio.to_thread(post_json, f"{server.main}/learner/freeze", {})
        before = (await server.until("DEMO", seconds=30))["updates"]
        await frames(viewer, len(viewer.frames) + 20)
        status = await server.status()
    assert status["learner_frozen"]
    assert status["updates"].get("frozen", 0) > 0, "shown as frozen, it does not learn"
    assert status["updates"]["refused"] == before["refused"]


async def test_a_freeze_that_fails_is_not_shown_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> None:
        raise ModelFailedError("model process is not running")

    async with serving(app_with()) as server:
        monkeypatch.setattr(ModelProcess, "freeze", gone)
        assert (await ask("POST", f"{server.main}/learner/freeze")).code == 503
        assert not (await server.status())["learner_frozen"]


async def test_no_room_for_frames_costs_the_masks_and_not_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container whose /dev/shm is full: written to all the same, it ends the process."""
    monkeypatch.setattr(os, "posix_fallocate", refuse(OSError(28, "No space left on device")))
    async with serving(app_with()) as server, server.viewer() as viewer:
        await server.until("AI OFF")
        await frames(viewer, 10)
        monkeypatch.undo()
        await server.until("DEMO", seconds=30)
        await frames(viewer, len(viewer.frames) + 10)
        assert (await server.status())["model_starts"] == 1


async def test_a_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(app_with()) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        pid = server.session.model_pid
        assert pid is not None
        with monkeypatch.context() as patch:
            patch.setattr(SpawnProcess, "start", refuse(BlockingIOError(11, "try again")))
            os.kill(pid, signal.SIGKILL)
            await server.until("AI OFF")
            await asyncio.sleep(1)
            await frames(viewer, len(viewer.frames) + 10)
        await server.until("DEMO", seconds=30)


async def test_closing_while_the_process_is_started_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, start = threading.Event(), SpawnProcess.start

    def slowly(process: SpawnProcess) -> None:
        begun.set()
        time.sleep(0.5)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", slowly)
    model = ModelProcess(functools.partial(FakeTracker, open_s=60.0))
    starting = asyncio.create_task(model.start())
    await asyncio.to_thread(begun.wait)
    async with asyncio.timeout(20):
        await model.close()
        with pytest.raises(ModelFailedError):
            await starting
    assert not any(one.name == "trocar-model" for one in multiprocessing.active_children())


def open_on_a_full_disk() -> FakeTracker:
    raise OSError(28, "No space left on device", "/media/JANE_DOE/profile.safetensors")


async def test_a_model_that_does_not_open_says_why_and_names_nobody(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = ModelProcess(functools.partial(open_logging, "text", "main", open_on_a_full_disk))
    with pytest.raises(ModelFailedError, match="model does not open: OSError, No space left"):
        await model.start()
    await model.close()
    said = capfd.readouterr().err
    assert "open_on_a_full_disk" in said, "the place is told"
    assert "JANE" not in said


def refuse(error: OSError) -> Callable[..., None]:
    def refused(*_: object) -> None:
        raise error

    return refused

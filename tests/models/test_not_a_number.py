"""A learner that produces NaN, in the real model process of a live session: the picture goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from service.http.app import create_app
from service.model.process import ModelTimes
from service.model.worker import OpenSegmenter
from service.settings import Settings
from streaming.mark import read_mark
from tests.support.live_service import Server, Viewer, serving
from tests.support.poisoned import Spoilt, poisoned_lessons

URL = "phantom://?seed=3&size=320x240&fps=4&mark=1"
PATIENCE_S = 60.0


def app_of(opener: OpenSegmenter) -> FastAPI:
    times = ModelTimes(start_s=60, first_step_s=20, step_s=10)
    return create_app(Settings(source=URL), open_segmenter=opener, times=times)


async def until(server: Server, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status that meets the condition. Every one on the way is sound JSON."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition(status := await server.status()):
        assert asyncio.get_running_loop().time() < end, status
        await asyncio.sleep(0.05)
    return status


def accepted(status: dict[str, Any]) -> int:
    return int(status["updates"].get("accepted", 0))


def numbers_of(viewer: Viewer) -> list[int]:
    return [number for _, shown in viewer.frames if (number := read_mark(shown)) is not None]


async def learns_on(server: Server, viewer: Viewer) -> None:
    """The picture moves, the badge is right, classes are found and lessons accepted."""
    before, seen = await server.status(), len(viewer.frames)
    after = await until(server, lambda now: accepted(now) > accepted(before) + 4)
    assert after["badge"].startswith("DEMO")
    assert len(viewer.frames) > seen
    assert any(one["present"] for one in after["classes"])
    assert all(0 <= one["confidence"] <= 1 for one in after["classes"])
    assert after["model_starts"] == 1
    numbers = numbers_of(viewer)
    assert numbers == sorted(set(numbers)), "no frame is shown twice or late"


async def test_lessons_that_are_not_numbers_are_refused() -> None:
    async with serving(app_of(poisoned_lessons)) as server, server.viewer() as viewer:
        await until(server, lambda now: now["updates"].get("rolled_back", 0) >= 3)
        await learns_on(server, viewer)
        status = await server.status()
    assert status["model_failures"] == status["frames_shown_plain"] == 0, "nobody noticed"


async def test_a_learner_that_is_not_a_number_is_rolled_back() -> None:
    """The frame that shows it is answered again from what was learnt before."""
    async with serving(app_of(Spoilt)) as server, server.viewer() as viewer:
        status = await until(server, lambda now: now["updates"].get("rolled_back", 0) > 0)
        assert accepted(status) > 0, "it had been learning"
        assert status["updates"]["rolled_back"] == len(status["classes"])
        await learns_on(server, viewer)
        status = await server.status()
    assert status["updates"]["rolled_back"] == len(status["classes"]), "once was enough"
    assert status["model_failures"] == status["learner_failures"] == 0
    assert status["frames_shown_plain"] == 0

"""The service with a model that can be made to fail, and a viewer's patience."""

from __future__ import annotations

import asyncio
import functools

from fastapi import FastAPI

from service.http.app import create_app
from service.model.process import ModelTimes
from service.settings import Settings
from tests.support.fakes import FakeTracker
from tests.support.live_service import Viewer

URL = "phantom://?seed=3&size=320x240&fps=20&mark=1"
TIMES = ModelTimes(start_s=60, first_step_s=5, step_s=0.6)


def app_with(source: str = URL, **script: object) -> FastAPI:
    opener = functools.partial(FakeTracker, **script)  # type: ignore[arg-type]
    return create_app(Settings(source=source), open_segmenter=opener, times=TIMES)


async def frames(viewer: Viewer, count: int, seconds: float = 20) -> None:
    """Wait until the viewer has so many frames."""
    end = asyncio.get_running_loop().time() + seconds
    while len(viewer.frames) < count:
        assert asyncio.get_running_loop().time() < end, f"{len(viewer.frames)} of {count} frames"
        await asyncio.sleep(0.05)

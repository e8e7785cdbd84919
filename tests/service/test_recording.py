"""Recording over HTTP: only where the service was started with a folder, and only when asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.service.test_sessions import OTHER, app_with
from tests.streaming.test_recorder import read
from tests.support.asking import Reply, ask
from tests.support.browser import open_page
from tests.support.live_service import Server, serving
from tests.support.scripted_service import frames

PATIENCE_S = 20


async def tell(server: Server, action: str, session: str = "main") -> Reply:
    return await ask("POST", f"{server.url}/api/sessions/{session}/recording/{action}")


def folders_of(root: Path) -> set[Path]:
    return set(root.iterdir())


async def written(server: Server, session: str, count: int) -> None:
    """Wait until so many pictures are on the disk."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    address = f"{server.url}/api/sessions/{session}"
    while (await ask("GET", address)).json["recording"]["frames"] < count:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


async def test_a_session_is_recorded_from_start_to_stop_and_again(tmp_path: Path) -> None:
    async with serving(app_with(record=tmp_path, sessions=2)) as server:
        assert (await tell(server, "stop")).json["state"] == "closed", "main is, from its start on"
        opened = (await ask("POST", f"{server.url}/api/sessions", {"source": OTHER})).json
        assert opened["recording"] == {"allowed": True, "state": "off", "frames": 0, "dropped": 0}
        before = folders_of(tmp_path)
        for _ in range(2):
            started = await tell(server, "start", opened["id"])
            assert (started.code, started.json["state"]) == (200, "recording")
            await written(server, opened["id"], 12)
            stopped = await tell(server, "stop", opened["id"])
            assert (stopped.code, stopped.json["state"]) == (200, "closed")
        folders = folders_of(tmp_path) - before
        assert len(folders) == 2, "a new folder each time"
        for folder in folders:
            shown, masks = (
                read(folder / name, form)
                for name, form in (("video.mp4", "rgb24"), ("masks.mkv", "gray"))
            )
            assert len(shown) >= 12
            assert 0 < len(masks) <= len(shown)
            assert set(masks) <= set(shown), "a mask has the time of its frame"


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    async with serving(app_with(record=tmp_path)) as server:
        twice = await tell(server, "start")
        assert twice.code == 409
        assert "not being recorded, this one is" in twice.sentence
        assert (await tell(server, "stop")).code == 200
        again = await tell(server, "stop")
        assert again.code == 409
        assert "being recorded, this one is not" in again.sentence
        assert (await tell(server, "pause")).code == 422
        assert (await tell(server, "start", "nobody")).code == 404


async def test_without_a_folder_nothing_is_ever_recorded(tmp_path: Path) -> None:
    async with serving(app_with()) as server:
        refused = await tell(server, "start")
        assert refused.code == 403
        assert "--record" in refused.sentence
        status = await server.status()
        assert status["recording"] == {"allowed": False, "state": "off", "frames": 0, "dropped": 0}
        async with server.viewer() as viewer:
            await frames(viewer, 5)


@pytest.mark.browser
async def test_the_control_page_records_where_it_may(chromium: str, tmp_path: Path) -> None:
    button = "document.querySelector('[data-id=main] .record')"
    for folder in (None, tmp_path):
        app = app_with(record=folder)
        async with serving(app) as server, open_page(chromium, server.url) as browser:
            await browser.until("document.querySelector('[data-id=main] .fps')?.textContent")
            assert await browser.page.is_visible("[data-id=main] .record") == bool(folder)
            if folder:
                await browser.until(f"{button}.textContent === 'Stop recording'")
                await browser.page.click(".record")
                await browser.until(f"{button}.textContent === 'Record'")
                assert (await server.status())["recording"]["state"] == "closed"
                await browser.page.click(".record")
                await browser.until(f"{button}.ariaPressed === 'true'")
                assert (await server.status())["recording"]["state"] == "recording"
            assert browser.console == []

"""The page in headless Chromium."""

from __future__ import annotations

import asyncio
import functools
import os
import signal

import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.browser import open_page
from tests.fakes import FakeTracker
from tests.live import serving
from tests.test_session import TIMES, URL

pytestmark = pytest.mark.browser


def app(**script: object) -> object:
    opener = functools.partial(FakeTracker, **script)  # type: ignore[arg-type]
    return create_app(Settings(source=URL), open_segmenter=opener, times=TIMES)


async def test_page_plays_and_asks_nobody_else(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:  # type: ignore[arg-type]
        await browser.playing()
        first, began = await browser.grab(), await time_of(browser.page)
        await asyncio.sleep(1.5)
        second, now = await browser.grab(), await time_of(browser.page)
        assert now - began > 1.0
        assert np.abs(first.astype(int) - second).mean() > 0.5
        page = browser.page
        assert await page.inner_text("#badge") == "DEMO"
        assert "of 20 fps" in await page.inner_text("#fps")
        assert "ms" in await page.inner_text("#send")
        legend = await page.inner_text("#legend")
        assert "bright" in legend
        assert "never" in legend
        assert "not a medical device" in (await page.inner_text("footer")).lower()
        hosts = {request.split("/")[2] for request in browser.requests if "://" in request}
        assert hosts == {server.url.split("/")[2]}
        assert browser.console == []


async def time_of(page: object) -> float:
    seconds: float = await page.evaluate("document.getElementById('video').currentTime")  # type: ignore[attr-defined]
    return seconds


async def test_learner_is_controlled_by_key_and_by_touch(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:  # type: ignore[arg-type]
        await browser.playing()
        await browser.page.keyboard.press("f")
        await browser.page.wait_for_selector("#freeze[aria-pressed=true]")
        assert (await server.status())["learner_frozen"]
        await browser.page.click("#freeze")
        await browser.page.wait_for_selector("#freeze[aria-pressed=false]")
        await browser.page.keyboard.press("h")
        assert not await browser.page.is_visible(".panel")


async def test_badge_tells_of_a_dead_model_and_of_its_return(chromium: str) -> None:
    slow = app(open_s=1.5)
    async with serving(slow) as server, open_page(chromium, server.url) as browser:  # type: ignore[arg-type]
        await browser.playing()
        pid = server.session._model.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        badge = "document.getElementById('badge').textContent"
        await browser.page.wait_for_function(f"{badge} === 'AI OFF'")
        began = await time_of(browser.page)
        await browser.page.wait_for_function(f"{badge} === 'DEMO'")
        assert await time_of(browser.page) > began


async def test_page_says_when_pictures_do_not_arrive(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:  # type: ignore[arg-type]
        await browser.playing()
        for slot in server.session._broadcast._slots:
            slot.put = lambda _: None  # type: ignore[method-assign]
        await browser.page.wait_for_function(
            "document.getElementById('badge').textContent === 'PICTURE FROZEN'"
        )


async def test_page_says_when_the_server_is_gone(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:  # type: ignore[arg-type]
        await browser.playing()
        await browser.page.route("**/api/**", lambda route: route.abort())
        await browser.page.wait_for_function(
            "document.getElementById('badge').textContent === 'NO SERVER'"
        )

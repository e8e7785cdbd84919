"""The display in headless Chromium: on the real service, and on a stage whose faults are ours."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from service.http.app import create_app
from service.settings import Settings
from tests.support.browser import Browser, open_page
from tests.support.fakes import FakeTracker
from tests.support.live_service import serving
from tests.support.marked_stage import Stage
from tests.support.scripted_service import TIMES, URL

pytestmark = pytest.mark.browser
PAGE = "/display/main"


def app(**script: object) -> FastAPI:
    opener = functools.partial(FakeTracker, **script)  # type: ignore[arg-type]
    return create_app(Settings(source=URL), open_segmenter=opener, times=TIMES)


async def time_of(browser: Browser) -> float:
    seconds: float = await browser.page.evaluate("document.getElementById('video').currentTime")
    return seconds


async def test_page_plays_and_asks_nobody_else(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.playing()
        await browser.badge("DEMO")
        first, began = await browser.grab(), await time_of(browser)
        await browser.until(f"document.getElementById('video').currentTime > {began + 1}")
        assert np.abs(first.astype(int) - await browser.grab()).mean() > 0.5
        page = browser.page
        await browser.until("Number(document.getElementById('fps').textContent) > 2")
        await browser.until("Number(document.getElementById('latency').textContent) > 0")
        legend = await page.inner_text("#legend")
        assert "bright" in legend
        assert "never" in legend
        assert "not a medical device" in (await page.inner_text("footer")).lower()
        assert browser.hosts() == {server.url.split("/")[2]}
        assert browser.console == []


async def test_badge_tells_of_a_dead_model_and_of_its_return(chromium: str) -> None:
    slow = app(open_s=1.5)
    async with serving(slow) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.playing()
        pid = server.session.model_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await browser.badge("AI OFF")
        assert "without masks" in await browser.page.inner_text("#sentence")
        began = await time_of(browser)
        await browser.badge("DEMO", 40)
        assert await time_of(browser) > began
        assert await browser.page.inner_text("#sentence") == ""


async def test_a_picture_that_stands_still_is_never_shown_as_live(chromium: str) -> None:
    stage = Stage()
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        stage.frames_flow = False
        await browser.badge("PICTURE STALE")
        await browser.until("/^Picture of [1-9]/.test(document.getElementById('age').textContent)")
        assert await browser.page.is_visible("#age")
        shown = await browser.screenshot()
        assert shown[200:600, 100:900].mean() < 70, "the old picture is darkened"
        stage.frames_flow = True
        await browser.badge("LIVE")
        assert not await browser.page.is_visible("#age")


async def test_a_lost_connection_is_told_and_mended(chromium: str) -> None:
    stage = Stage()
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        stage.refuse = "every viewer's place is taken"
        await stage.hang_up()
        await browser.badge("CONNECTION LOST")
        said = "document.getElementById('sentence').textContent"
        await browser.until(f'{said} === "Every viewer\'s place is taken. Trying again."')
        before = len(stage.offers)
        await asyncio.sleep(3)
        assert len(stage.offers) - before <= 4, "it asks with growing pauses"
        stage.refuse = ""
        await browser.badge("LIVE", 30)


async def test_a_service_that_does_not_answer_is_told(chromium: str) -> None:
    async with serving(Stage().app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        await browser.page.route("**/api/**", lambda route: route.abort())
        await browser.badge("CONNECTION LOST")
        assert "does not answer" in await browser.page.inner_text("#sentence")
        await browser.page.unroute("**/api/**")
        await browser.badge("LIVE")


def page_of_a_proxy() -> Response:
    return HTMLResponse("<title>Sign in</title>")


def cut_off() -> Response:
    return Response(b'{"badge": "LI', headers={"Content-Length": "900"})


def stalled() -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"badge": "LI'
        await asyncio.sleep(30)

    return StreamingResponse(body())


@pytest.mark.parametrize("answer", [page_of_a_proxy, cut_off, stalled])
async def test_an_answer_that_cannot_be_read_is_told_and_asked_for_again(
    chromium: str, answer: Callable[[], Response]
) -> None:
    stage = Stage()
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        stage.answer = answer
        await browser.badge("CONNECTION LOST")
        assert "cannot be read" in await browser.page.inner_text("#sentence")
        stage.answer = None
        await browser.badge("LIVE")


async def test_a_state_that_is_old_is_not_trusted(chromium: str) -> None:
    """Whatever became of the answers: that none came is enough."""
    judged = """async (statusMs) => (await import("/static/badge.js")).judge({
      status: { badge: "LIVE" }, statusMs, refusal: "", masks: "fine", silentMs: 40,
      connection: { state: "connected", sentence: "" },
    }).text"""
    async with serving(Stage().app()) as server, open_page(chromium, server.url + PAGE) as browser:
        assert await browser.page.evaluate(judged, 400) == "LIVE"
        assert await browser.page.evaluate(judged, 3000) == "CONNECTION LOST"


@pytest.mark.parametrize("view", ["", "?view=composed"])
async def test_badge_says_what_the_service_says(chromium: str, view: str) -> None:
    stage = Stage()
    page = stage.app()
    async with serving(page) as server, open_page(chromium, server.url + PAGE + view) as browser:
        await browser.badge("LIVE", 40)
        for text, kind in [
            ("SOURCE LOST", "bad"),
            ("AI OFF", "bad"),
            ("AI LATE", "warn"),
            ("PICTURE STALE", "bad"),
            ("RECORDING", "demo"),
            ("DEMO", "demo"),
            ("SOMETHING NEW", "bad"),
            ("LIVE", "good"),
        ]:
            stage.status["badge"] = text
            await browser.badge(text)
            assert await browser.page.get_attribute("#badge", "data-kind") == kind
            told = await browser.page.is_visible("#legend .confidence")
            assert told == (kind in ("good", "demo")), "no old confidence beside such a badge"
        stage.status.update(badge="AI OFF", demo=True)
        await browser.badge("AI OFF")
        await browser.until("document.getElementById('notes').textContent === 'DEMO'")
        stage.status.update(badge="LIVE, MODEL RATE", demo=False)
        await browser.badge("LIVE")
        expected = "" if view else "MODEL RATE"  # a composed picture keeps the video's rate
        notes = "document.getElementById('notes').textContent"
        await browser.until(f"{notes} === '{expected}'")
        for state, said in [("recording", "BEING RECORDED"), ("failed", "RECORDER FAILED")]:
            stage.status["recording"] = {"state": state}
            await browser.until(f"{notes}.startsWith('{said}')")


async def test_views_and_overlay_ask_for_the_right_picture(chromium: str) -> None:
    stage = Stage()
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        await plays_only(stage, "overlay")
        assert await browser.page.is_disabled("#contour")
        await browser.page.keyboard.press("o")  # burnt-in masks go with the picture they are in
        await plays_only(stage, "overlay", "plain")
        assert await browser.page.inner_text("#notes") == "OVERLAY OFF"
        await browser.page.click("#overlay")
        await plays_only(stage, "overlay", "plain", "overlay")
        await browser.page.keyboard.press("v")
        assert await browser.page.is_enabled("#contour")
        await plays_only(stage, "overlay", "plain", "overlay", "plain")
        await browser.until("Number(document.getElementById('picture').dataset.mask) > 0", 30)
        await browser.page.keyboard.press("o")  # here it is a matter of not drawing them
        await browser.page.keyboard.press("o")
        await browser.page.click("#burnt")
        await plays_only(stage, "overlay", "plain", "overlay", "plain", "overlay")
        await browser.badge("LIVE", 30)
        assert not await browser.page.is_visible("#picture")
        assert browser.console == []


async def test_whoever_has_the_last_place_can_change_views(chromium: str) -> None:
    settings = Settings(source=URL, viewers=1)
    full = create_app(settings, open_segmenter=functools.partial(FakeTracker), times=TIMES)
    async with serving(full) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("DEMO", 40)
        for key, view in [("o", "plain"), ("v", "plain"), ("o", "plain"), ("v", "overlay")]:
            await browser.page.keyboard.press(key)
            end = asyncio.get_running_loop().time() + 20
            while not (await server.status())["renditions"][view]["viewers"]:
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.1)
            await browser.badge("DEMO")
        assert browser.console == []


async def test_the_page_of_a_session_that_is_gone_says_so_and_asks_again(chromium: str) -> None:
    gone = "/display/gone"
    async with serving(app()) as server, open_page(chromium, server.url + gone) as browser:
        await browser.badge("CONNECTION LOST")
        assert "the id of a session that runs" in await browser.page.inner_text("#sentence")


async def test_a_view_that_is_refused_is_not_taken_for_the_one_that_plays(chromium: str) -> None:
    stage = Stage()
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        stage.refuse = "every viewer's place is taken"
        await browser.page.keyboard.press("o")
        await browser.badge("OTHER VIEW")
        assert await browser.page.get_attribute("#badge", "data-kind") == "warn"
        assert "place is taken" in await browser.page.inner_text("#sentence")
        assert await browser.page.inner_text("#notes") == "", "the overlay is not off"
        await browser.page.keyboard.press("o")  # as it was, and as it plays
        await browser.badge("LIVE")
        await browser.page.keyboard.press("o")
        await browser.badge("OTHER VIEW")
        stage.refuse = ""
        await browser.badge("LIVE", 30)
        assert await browser.page.inner_text("#notes") == "OVERLAY OFF"


async def test_hidden_classes_are_not_called_hidden_where_masks_are_burnt_in(chromium: str) -> None:
    async with serving(Stage().app()) as server:
        page = server.url + PAGE + "?view=composed"
        async with open_page(chromium, page) as browser:
            await browser.badge("LIVE", 40)
            await browser.page.keyboard.press("1")
            notes = "document.getElementById('notes').textContent"
            await browser.until(f"{notes} === '1 CLASS HIDDEN'")
            pressed = "document.querySelector('#legend button').ariaPressed"
            await browser.until(f"{pressed} === 'false'")
            await browser.page.keyboard.press("v")
            await browser.until(f"{notes} === ''")
            await browser.until(f"{pressed} === 'true'")


async def plays_only(stage: Stage, *views: str) -> None:
    """Wait until these views were asked for, and the last of them alone is still connected."""
    wanted = [False] * (len(views) - 1) + [True]
    end = asyncio.get_running_loop().time() + 20
    while stage.playing() != wanted:
        assert asyncio.get_running_loop().time() < end, (stage.offers, stage.playing())
        await asyncio.sleep(0.05)
    assert stage.offers == list(views)


async def test_keys_and_help(chromium: str) -> None:
    async with serving(Stage().app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("LIVE", 40)
        page = browser.page
        await page.keyboard.press("?")
        assert await page.is_visible("#help")
        helped = await page.inner_text("#help")
        assert "Overlay on or off" in helped
        assert "PICTURE STALE" in helped
        await page.keyboard.press("o")  # under an open help, keys do nothing
        await page.keyboard.press("Escape")
        assert not await page.is_visible("#help")
        assert await page.inner_text("#notes") == ""
        await page.keyboard.press("h")
        assert not await page.is_visible("#panel")
        assert await page.is_visible("#badge")
        await page.keyboard.press("h")
        await page.click("#help-button")
        assert await page.is_visible("#help")


@pytest.mark.parametrize("size", [(390, 844), (1280, 720), (3840, 2160)])
async def test_badge_is_large_and_buttons_fit_a_finger(
    chromium: str, size: tuple[int, int]
) -> None:
    at = Stage().app()
    async with serving(at) as server, open_page(chromium, server.url + PAGE, size=size) as browser:
        await browser.badge("LIVE", 40)
        boxes = await browser.page.evaluate(
            "[...document.querySelectorAll('button, input')].filter((one) => one.checkVisibility())"
            ".map((one) => [one.id, one.offsetWidth, one.offsetHeight])"
        )
        assert [box for box in boxes if box[1] < 44 or box[2] < 44] == []
        letters = await browser.page.evaluate(
            "parseFloat(getComputedStyle(document.getElementById('badge')).fontSize)"
        )
        assert letters >= size[1] / 30 if size[0] > size[1] else letters >= 24
        assert await browser.page.evaluate(
            "document.documentElement.scrollWidth <= window.innerWidth"
        )

"""The control page in headless Chromium, on the real service with a fake model."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.test_display import app
from tests.support.browser import CAMERA, Browser, open_page
from tests.support.live_service import get_json, serving

pytestmark = pytest.mark.browser


async def test_sessions_are_listed_opened_and_closed(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:
        page = browser.page
        await browser.until(
            "document.querySelector('[data-id=main] .state')?.textContent === 'DEMO'"
        )
        assert "phantom" in await page.inner_text("[data-id=main] .scene")
        assert await page.get_attribute("[data-id=main] a", "href") == "/display/main"
        await page.fill("[name=source]", "phantom://?seed=5&size=320x240&fps=10")
        await page.fill("[name=name]", "second")
        await page.click("#new button")
        await browser.until("document.querySelectorAll('.card').length === 2", 60)
        assert "second" in await page.inner_text(".card:nth-child(2) h3")
        await page.click(".card:nth-child(2) .delete")
        await page.click("#confirm [value=keep]")
        assert await page.locator(".card").count() == 2
        await page.click(".card:nth-child(2) .delete")
        await page.click("#confirm [value=close]")
        await browser.until("document.querySelectorAll('.card').length === 1", 30)
        listed = await asyncio.to_thread(get_json, f"{server.url}/api/sessions")
        assert len(listed["sessions"]) == 1
        assert browser.hosts() == {server.url.split("/")[2]}
        assert browser.console == []


async def test_a_refusal_is_one_sentence(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:
        await browser.page.fill("[name=source]", "phantom://?color=3")
        await browser.page.keyboard.press("Enter")
        said = "document.getElementById('new-trouble').textContent"
        sentence = await browser.until(said)
        assert "seed, size, fps and mark, got color" in sentence
        assert sentence.endswith(".")
        assert await browser.page.locator(".card").count() == 1


async def test_the_learner_is_shown_and_controlled(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:
        page = browser.page
        await browser.until("Number(document.querySelector('.updates .refused')?.textContent) > 0")
        points = "document.querySelector('.plot .line')?.getAttribute('points').split(' ').length"
        await browser.until(f"{points} > 2", 30)
        assert await page.locator(".plot .line").count() == 2
        await page.click(".freeze")
        await browser.until("document.querySelector('.freeze').ariaPressed === 'true'")
        assert (await server.status())["learner_frozen"]
        await page.click(".freeze")
        await browser.until("document.querySelector('.freeze').ariaPressed === 'false'")
        await page.click(".rollback")
        await page.click(".reset")
        await page.focus(".reset")
        assert browser.console == []


async def test_it_says_when_the_service_is_gone(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:
        await browser.until("document.querySelector('.card')")
        await browser.page.route("**/api/**", lambda route: route.abort())
        said = "document.getElementById('trouble').textContent"
        state = "document.querySelector('.card .state').textContent"
        await browser.until(f"{said} === 'The service does not answer.'")
        await browser.until(f"{state} === 'NOT KNOWN'")
        assert await browser.page.inner_text(".card .fps") == "–"
        await browser.page.unroute("**/api/**")
        await browser.until(f"{said} === ''")
        await browser.until(f"{state} === 'DEMO'")


async def test_a_refused_action_stays_told(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url) as browser:
        await browser.until("document.querySelector('.card .fps')?.textContent.includes('of')")
        refused = {"status": 503, "json": {"detail": "the model is being started"}}
        await browser.page.route("**/learner/**", lambda route: route.fulfill(**refused))
        await browser.page.click(".rollback")
        said = "document.querySelector('.card .trouble').textContent"
        await browser.until(f"{said} === 'The model is being started.'")
        await asyncio.sleep(2.5)  # the state was asked for twice meanwhile
        assert await browser.page.inner_text(".card .trouble") == "The model is being started."
        await browser.page.unroute("**/learner/**")
        await browser.page.click(".rollback")
        await browser.until(f"{said} === ''")


@pytest.mark.parametrize("size", [(390, 844), (1280, 720), (3840, 2160)])
async def test_it_fits_any_screen_and_finger(chromium: str, size: tuple[int, int]) -> None:
    async with serving(app()) as server, open_page(chromium, server.url, size=size) as browser:
        await browser.until("document.querySelector('.card')")
        small = await browser.page.evaluate(
            "[...document.querySelectorAll('button, input, select, .button')]"
            ".filter((one) => one.checkVisibility() && one.offsetHeight < 44)"
            ".map((one) => one.outerHTML)"
        )
        assert small == []
        assert await browser.page.evaluate(
            "document.documentElement.scrollWidth <= window.innerWidth"
        )


CARD = "document.querySelector('.card:nth-child(2)')"
SAID = f"{CARD}.querySelector('.camera-state').textContent"
# A browser that takes a second to ask whether the camera may be used; what it gave is kept.
SLOW_CAMERA = """() => {
  window.cameras = [];
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await new Promise((go) => setTimeout(go, 1000));
    const stream = await real(wanted);
    window.cameras.push(stream.getTracks()[0]);
    return stream;
  };
}"""
CAMERAS_ON = "window.cameras.filter(({ readyState }) => readyState === 'live').length"


async def open_inbound(browser: Browser) -> None:
    """A second session, to be published into."""
    await browser.until("document.querySelector('.card')")
    await browser.page.fill("[name=source]", "whip://")
    await browser.page.click("#new button")
    await browser.until("document.querySelectorAll('.card').length === 2", 60)


async def test_a_camera_is_off_once_publishing_was_stopped_however_early(chromium: str) -> None:
    async with (
        serving(app()) as server,
        open_page(chromium, server.url, size=(1280, 900), arguments=CAMERA) as browser,
    ):
        await open_inbound(browser)
        await browser.page.evaluate(SLOW_CAMERA)
        button = browser.page.locator(".card:nth-child(2) .publish")
        for _ in range(2):  # the second while the browser still asks
            await button.click()
        await browser.until("window.cameras.length === 1")
        await browser.until(f"{CAMERAS_ON} === 0")
        assert await button.inner_text() == "Publish this camera"
        for _ in range(3):
            await button.click()
        await browser.until(f"{SAID} === 'This camera is being published.'", 30)
        await browser.until("window.cameras.length === 3")
        await browser.until(f"{CAMERAS_ON} === 1")
        await button.click()
        await browser.until(f"{CAMERAS_ON} === 0")
        assert browser.console == []


async def test_this_computer_s_camera_is_published(chromium: str) -> None:
    async with (
        serving(app()) as server,
        open_page(chromium, server.url, size=(1280, 900), arguments=CAMERA) as browser,
    ):
        page = browser.page
        await open_inbound(browser)
        assert not await page.is_visible("[data-id=main] .publish")
        await page.click(".card:nth-child(2) .publish")
        await browser.until(f"{SAID} === 'This camera is being published.'", 30)
        state = f"{CARD}.querySelector('.state').textContent"
        await browser.until(f"{state} === 'LIVE'", 60)
        await page.click(".card:nth-child(2) .publish")
        await browser.until(f"{state} === 'SOURCE LOST'", 30)
        assert not await page.is_visible(".card:nth-child(2) video")
        assert browser.console == []

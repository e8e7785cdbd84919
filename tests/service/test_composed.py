"""The composed view in headless Chromium: masks on the frames they belong to, and on no other."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from streaming.mark import CELL, COLUMNS, ROWS, read_mark
from streaming.mask_wire import write_mask
from tests.service.test_display import app
from tests.support.browser import Browser, open_page
from tests.support.live_service import serving
from tests.support.marked_stage import (
    BITS,
    BOTTOM,
    GRID_HEIGHT,
    HEIGHT,
    TOP,
    WIDTH,
    Stage,
    mask_message,
    mask_of,
    read_bars,
)

pytestmark = pytest.mark.browser
PAGE = "/display/main?view=composed"

# Before each repaint of the screen: what both canvases hold, and what the page says it drew.
WATCH = """([cell, columns, rows, bits, middle]) => {
  const [picture, masks] = [document.getElementById("picture"), document.getElementById("masks")];
  const lit = (canvas, x, y) => canvas.getContext("2d").getImageData(x, y, 1, 1).data;
  const seen = window.seen = [];
  let last = "";
  const look = () => {
    requestAnimationFrame(look);
    const mark = [];
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const y = picture.height - rows * cell + (row + 0.5) * cell;
        mark.push(lit(picture, (column + 0.5) * cell, y)[1] > 127 ? 1 : 0);
      }
    const bars = [];
    for (let bit = 0; bit < bits; bit++) {
      const x = (bit + 0.5) * masks.width / bits;
      bars.push(lit(masks, x, middle * masks.height)[3] > 40 ? 1 : 0);
    }
    const now = JSON.stringify([mark, bars, picture.dataset.mask]);
    if (now !== last) seen.push([mark, bars, picture.dataset.mask ?? ""]);
    last = now;
  };
  look();
}"""

# Is anything on the canvas of masks?
DRAWN = """document.getElementById("masks").getContext("2d")
  .getImageData(0, 0, masks.width, masks.height).data.some((value) => value > 0)"""


def number(bits: list[int]) -> int:
    """Most significant first."""
    return int("".join(map(str, bits)), 2)


def marked(bits: list[int]) -> int | None:
    """The number in a picture's block code."""
    cells = np.array(bits, np.uint8).reshape(ROWS, COLUMNS) * 255
    image = np.repeat(np.repeat(cells, CELL, axis=0), CELL, axis=1)
    return read_mark(np.repeat(image[..., None], 3, axis=2))


async def watched(browser: Browser, count: int, seconds: float = 60) -> list[tuple[int, int, str]]:
    """What was on the screen until `count` states of it: (picture's number, mask's, as told)."""
    middle = (TOP + BOTTOM) / 2 / GRID_HEIGHT
    await browser.page.evaluate(WATCH, [CELL, COLUMNS, ROWS, BITS, middle])
    await browser.until(f"window.seen.length >= {count}", seconds)
    seen: list[Any] = await browser.page.evaluate("window.seen")
    return [
        (found, number(bars), told)
        for mark, bars, told in seen
        if (found := marked(mark)) is not None
    ]


async def with_masks(browser: Browser) -> None:
    """Wait until masks are drawn."""
    await browser.until("Number(document.getElementById('picture').dataset.mask) > 10", 40)


@pytest.mark.parametrize("loss", [0.0, 0.02])
async def test_every_mask_is_on_the_frame_it_belongs_to(chromium: str, loss: float) -> None:
    async with (
        serving(Stage(loss=loss).app()) as server,
        open_page(chromium, server.url + PAGE, size=(WIDTH, HEIGHT)) as browser,
    ):
        await with_masks(browser)
        seen = await watched(browser, 300)
        assert browser.console == []
    drawn = [(picture, bars, told) for picture, bars, told in seen if bars or told]
    assert len(drawn) > 150
    assert [one for one in drawn if one[0] != one[1] or str(one[0]) != one[2]] == []
    assert len({picture for picture, _, _ in drawn}) > 100


async def test_what_the_screen_shows_agrees_too(chromium: str) -> None:
    """As above, but read from pictures of the whole page, as the compositor made it."""
    async with (
        serving(Stage().app()) as server,
        open_page(chromium, server.url + PAGE, size=(WIDTH, HEIGHT)) as browser,
    ):
        await with_masks(browser)
        await browser.page.keyboard.press("h")  # the picture fills the window, pixel by pixel
        await asyncio.sleep(0.5)
        shown = [await browser.screenshot() for _ in range(25)]
    numbers = [(read_mark(image), read_bars(image)) for image in shown]
    drawn = [(mark, bars) for mark, bars in numbers if bars is not None]
    assert len(drawn) >= 10
    assert all(mark == bars for mark, bars in drawn)


async def test_the_service_s_own_messages_match_its_frames(chromium: str) -> None:
    async with serving(app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await with_masks(browser)
        seen = await watched(browser, 200)
        assert browser.console == []
    drawn = [(picture, int(told)) for picture, _, told in seen if told]
    assert len(drawn) > 50
    assert all(picture == frame for picture, frame in drawn)


async def test_frames_whose_masks_never_come_stay_plain(chromium: str) -> None:
    async with (
        serving(Stage(every=3).app()) as server,
        open_page(chromium, server.url + PAGE) as browser,
    ):
        await with_masks(browser)
        seen = await watched(browser, 150)
    drawn = [(picture, bars) for picture, bars, _ in seen if bars]
    plain = [picture for picture, bars, told in seen if not bars and not told]
    assert len(drawn) > 20
    assert all(picture == bars and picture % 3 == 0 for picture, bars in drawn)
    assert sum(picture % 3 != 0 for picture in plain) > 20


async def test_late_masks_are_not_drawn_and_the_badge_says_so(chromium: str) -> None:
    stage = Stage(mask_delay_s=0.5)
    async with serving(stage.app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await browser.badge("AI LATE", 40)
        sent = stage.masks_sent
        seen = await watched(browser, 30)
        assert stage.masks_sent > sent
        assert all(not bars and not told for _, bars, told in seen)
        stage.mask_delay_s = 0.01
        await with_masks(browser)
        await browser.badge("LIVE")


async def test_held_masks_say_that_they_are_held_and_end(chromium: str) -> None:
    stage = Stage(mask_delay_s=0.13)  # too late for a frame that waits 80 ms at most
    page = PAGE + "&hold=1"
    async with serving(stage.app()) as server, open_page(chromium, server.url + page) as browser:
        await browser.badge("HELD", 40)
        await browser.until(DRAWN)
        stage.mask_delay_s = None
        await browser.until(f"!({DRAWN})")
        await browser.badge("AI LATE")


async def test_masks_look_as_the_viewer_chooses(chromium: str) -> None:
    async with serving(Stage().app()) as server, open_page(chromium, server.url + PAGE) as browser:
        await with_masks(browser)
        page, keys = browser.page, browser.page.keyboard
        faint = await tint(browser)
        for _ in range(4):
            await keys.press("+")
        await browser.until("document.getElementById('opacity').value === '80'")
        assert await tint(browser) > faint * 1.6
        await page.click("#contour")
        assert await tint(browser) == 0, "a contour leaves the inside open"
        assert (await browser.grab("masks")).max() > 0
        await keys.press("c")
        assert await tint(browser) > 0
        await keys.press("1")
        assert await tint(browser) == 0
        assert await page.inner_text("#notes") == "1 CLASS HIDDEN"
        await page.click("#legend li:first-child button")
        assert await tint(browser) > 0
        await keys.press("o")
        assert await tint(browser) == 0
        assert await page.inner_text("#notes") == "OVERLAY OFF"
        await page.click("#overlay")
        assert await tint(browser) > 0
        assert page.url.endswith("?view=composed&opacity=80")
        await page.reload()
        await with_masks(browser)
        assert await page.input_value("#opacity") == "80"
        assert browser.console == []


async def test_an_instrument_of_unknown_kind_is_grey_and_can_be_hidden(chromium: str) -> None:
    async with (
        serving(app(unnamed=True)) as server,
        open_page(chromium, server.url + PAGE) as browser,
    ):
        await with_masks(browser)
        await browser.until(DRAWN)
        legend = "document.querySelector('#legend li:last-child').textContent"
        await browser.until(f"{legend}.startsWith('kind unknown') && {legend}.endsWith('here')")
        lit = np.zeros((0, 3), int)
        async with asyncio.timeout(20):
            while len(lit) <= 100:  # not every frame is bright somewhere
                drawn = await browser.grab("masks")
                lit = drawn[drawn.max(axis=2) > 100].astype(int)
        assert np.ptp(lit, axis=1).max() < 40, "no colour of a class"
        await browser.page.keyboard.press("3")
        await browser.until(f"!({DRAWN})")
        assert "1 CLASS HIDDEN" in await browser.page.inner_text("#notes")
        assert browser.console == []


TINT = """([row, bits]) => new Promise((done) => {
  const [picture, masks] = [document.getElementById("picture"), document.getElementById("masks")];
  const lit = (bit) => masks.getContext("2d")
    .getImageData((bit + 0.5) * masks.width / bits, row * masks.height, 1, 1).data[3];
  const waitFor = (frames) => requestAnimationFrame(() => {
    if (frames > 0 && (frames > 120 || !picture.dataset.mask)) return waitFor(frames - 1);
    done(Math.max(...Array.from({ length: bits }, (_, bit) => lit(bit))));
  });
  waitFor(130);
})"""


async def tint(browser: Browser) -> float:
    """The strongest opacity in the middle of the bars, 0 to 255.

    Some frames later, and once a frame has its mask, should there be one within two seconds.
    """
    row = (TOP + BOTTOM) / 2 / GRID_HEIGHT
    value: float = await browser.page.evaluate(TINT, [row, BITS])
    return value


DECODE = """async (bytes) => {
  const { decodeMask } = await import("/static/masks.js");
  try {
    const mask = decodeMask(new Uint8Array(bytes).buffer);
    return { ...mask, grid: [...mask.grid] };
  } catch (error) {
    return error.message;
  }
}"""


async def test_messages_are_decoded_or_refused_with_a_reason(chromium: str) -> None:
    good = mask_message(0xFFFF_FFFE, 40_000)
    bad = {
        good[:10]: "expected at least",
        b"XX" + good[2:]: "expected a mask message",
        good[:2] + b"\x02" + good[3:]: "expected version 1, got 2",
        good[:12] + b"\x00\x00" + good[14:]: "expected a grid",
        good[:-4]: "expected run",
        good + b"\x01\x05": "expected runs that fit",
        good + b"\x01": "expected a run's length",
        good[:18] + b"\x00\xff\xff\xff\xff\xff\x7f": "expected",
    }
    async with serving(Stage().app()) as server, open_page(chromium, server.url + PAGE) as browser:
        mask = await browser.page.evaluate(DECODE, list(good))
        assert (mask["stamp"], mask["frame"]) == (0xFFFF_FFFE, 40_000)
        grid = np.array(mask["grid"]).reshape(mask["height"], mask["width"])
        assert np.array_equal(grid, mask_of(40_000))
        small = write_mask(np.zeros((64, 64), np.uint8), 7, 8).stamped(9)
        mask = await browser.page.evaluate(DECODE, list(small))
        assert (mask["stamp"], mask["frame"]) == (9, 8)
        assert not any(mask["grid"])
        for message, reason in bad.items():
            assert reason in await browser.page.evaluate(DECODE, list(message))

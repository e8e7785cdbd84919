"""A person teaches what is on his screen: over HTTP and WebRTC, and on the display."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import time
from typing import Any

import cv2
import numpy as np
import pytest

from models.types import UInt8Array
from service.http.app import create_app
from service.live.lessons import HELD, KEPT, KEPT_BYTES, KEPT_S, KeptFrames
from service.model.process import ModelTimes
from service.settings import Settings
from streaming.encoding import rtp_stamp
from streaming.frame import Frame
from streaming.mask_wire import ReadMask, read_mask
from tests.support.asking import Reply, ask
from tests.support.browser import Browser, open_page
from tests.support.fakes import FakeTracker
from tests.support.live_service import Server, Viewer, serving
from tests.support.scripted_service import TIMES, URL, app_with

BRIGHT, NEVER = 1, 2  # the fake tracker calls everything bright so until it is taught another name


async def newest_mask(viewer: Viewer, after: int = 0, seconds: float = 15) -> ReadMask:
    """The newest mask once more than `after` have come."""
    end = time.monotonic() + seconds
    while len(viewer.masks) <= after:
        assert time.monotonic() < end, f"{len(viewer.masks)} masks"
        await asyncio.sleep(0.02)
    return read_mask(viewer.masks[-1])


async def a_press(viewer: Viewer) -> dict[str, Any]:
    """On something that was found in a frame which the viewer has just seen."""
    end = time.monotonic() + 15
    while True:
        assert time.monotonic() < end, "no mask of anything"
        mask = await newest_mask(viewer, len(viewer.masks))
        rows, columns = np.nonzero(mask.grid == (BRIGHT if BRIGHT in mask.class_ids else NEVER))
        if len(rows) > 20:
            break
    one, (height, width) = len(rows) // 2, mask.grid.shape
    click = {"x": (columns[one] + 0.5) / width, "y": (rows[one] + 0.5) / height}
    return {"viewer": viewer.id, "frame": mask.rtp_timestamp, "clicks": [click]}


async def teach(server: Server, press: dict[str, Any], class_id: int) -> Reply:
    return await ask("POST", f"{server.main}/lessons", press | {"class_id": class_id})


async def take_back(server: Server) -> Reply:
    return await ask("DELETE", f"{server.main}/lessons/last")


async def until_named(viewer: Viewer, class_id: int, seconds: float) -> float:
    """Wait until everything that is found is called so; seconds that it took."""
    began = time.monotonic()
    while (mask := await newest_mask(viewer, len(viewer.masks))).class_ids != (class_id,):
        assert time.monotonic() - began < seconds, f"called {mask.class_ids} after {seconds} s"
    return time.monotonic() - began


@pytest.mark.alone
async def test_a_lesson_is_on_the_screen_within_a_second_and_taken_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(app_with()) as server, server.viewer("plain") as viewer:
        press = await a_press(viewer)
        taught = await teach(server, press, NEVER)
        assert taught.code == 200
        assert 0 < taught.json["area"] < 1
        await until_named(viewer, NEVER, 1)
        assert (await server.status())["lessons"] == {"taught": 1, "taken_back": 0}
        assert (await take_back(server)).json == {"taken_back": True}
        await until_named(viewer, BRIGHT, 1)
        assert (await server.status())["lessons"] == {"taught": 1, "taken_back": 1}
        metrics = (await ask("GET", f"{server.url}/metrics")).body.decode()
    assert 'trocar_lessons_total{result="taught",session="main"} 1.0' in metrics
    assert "lesson taught: class 2" in caplog.text
    assert "never" not in caplog.text, "names may tell of a person"


@pytest.mark.parametrize("times", [1, 3])
async def test_what_is_not_there_is_not_drawn_any_more(times: int) -> None:
    async with serving(app_with()) as server, server.viewer("plain") as viewer:
        for _ in range(times):
            press = await a_press(viewer)
            await teach(server, press, NEVER)
        assert (await teach(server, press, 0)).code == 200
        end = time.monotonic() + 10
        while (await newest_mask(viewer, len(viewer.masks))).class_ids:
            assert time.monotonic() < end, "still drawn"
        for _ in range(times + 1):
            assert (await take_back(server)).code == 200
        await until_named(viewer, BRIGHT, 10)


async def test_a_press_belongs_to_the_frame_that_was_on_the_screen() -> None:
    """Two viewers count time from different origins; what each has seen is found all the same."""
    async with (
        serving(app_with()) as server,
        server.viewer("plain") as first,
        server.viewer("plain") as second,
    ):
        for viewer in (first, second):
            press = await a_press(viewer)
            masks = {mask.rtp_timestamp: mask for mask in map(read_mask, viewer.masks)}
            stamp = server.session.peers.stamp_of(viewer.id, press["frame"])
            assert stamp is not None
            frame = server.session.lessons.frames.of(stamp)
            assert frame is not None
            assert frame.index == masks[press["frame"]].index
        lent = press | {"viewer": first.id}
        assert (await teach(server, lent, NEVER)).code == 409, "another viewer's time"


async def test_lessons_that_cannot_be_are_refused_in_one_line_and_harm_nothing() -> None:
    async with serving(app_with()) as server, server.viewer("plain") as viewer:
        press = await a_press(viewer) | {"class_id": NEVER}
        clicks = press["clicks"]
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"class_id": 7}, 400, "class ids of 1, 2"),
            ({"class_id": 255}, 422, "body.class_id"),
            ({"class_id": "hook"}, 422, "body.class_id"),
            ({"clicks": []}, 422, "body.clicks"),
            ({"clicks": clicks * 33}, 422, "body.clicks"),
            ({"clicks": [{"x": 1.5, "y": 0.5}]}, 422, "body.clicks"),
            ({"clicks": [{"x": 0.5}]}, 422, "body.clicks"),
            ({"clicks": [{"x": 0.0, "y": 0.0}]}, 400, "a press on an instrument"),
            ({"frame": (press["frame"] - 90_000 * 3600) % 2**32}, 409, "the last 2 s"),
            ({"frame": (press["frame"] + 1) % 2**32}, 409, "the last 2 s"),
            ({"frame": -1}, 422, "body.frame"),
            ({"viewer": "nobody"}, 409, "a viewer that plays"),
            ({"names": "x"}, 422, "body.names"),
        ]
        held = await ask(
            "POST", f"{server.main}/lessons/frame", {k: press[k] for k in ("viewer", "frame")}
        )
        assert held.code == 204
        for change, code, expected in cases:
            refused = await ask("POST", f"{server.main}/lessons", press | change)
            assert refused.code == code, (change, refused.body[:300])
            assert expected in refused.sentence, change
        assert "no" in (await take_back(server)).sentence
        assert (await take_back(server)).code == 409
        assert (await ask("POST", f"{server.url}/api/sessions/gone/lessons", press)).code == 404
        status = await server.status()
        assert status["lessons"] == {"taught": 0, "taken_back": 0}
        assert (status["model_starts"], status["model_failures"]) == (1, 0)
        assert (await ask("POST", f"{server.main}/lessons", press)).code == 200, "and it still can"


async def test_the_frame_of_a_press_waits_until_its_name_is_chosen() -> None:
    async with serving(app_with()) as server, server.viewer("plain") as viewer:
        held, other = await a_press(viewer), await a_press(viewer)
        seen = {"viewer": held["viewer"], "frame": held["frame"]}
        assert (await ask("POST", f"{server.main}/lessons/frame", seen)).code == 204
        await asyncio.sleep(KEPT_S + 1.5)
        assert (await teach(server, other, NEVER)).code == 409
        assert (await teach(server, held, NEVER)).code == 200
        late = await ask("POST", f"{server.main}/lessons/frame", {**seen, "frame": other["frame"]})
        assert late.code == 409


async def test_a_lesson_survives_a_killed_model_process_and_reset_forgets_it() -> None:
    async with serving(app_with()) as server, server.viewer("plain") as viewer:
        press = await a_press(viewer)
        assert (await teach(server, press, NEVER)).code == 200
        await until_named(viewer, NEVER, 10)
        pid = server.session.model_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await server.until("AI OFF")
        refused = await teach(server, press, BRIGHT)
        assert refused.code == 503
        assert "model" in refused.sentence
        assert refused.headers["retry-after"]
        await server.until("DEMO", 40)
        await until_named(viewer, NEVER, 10)
        assert (await ask("POST", f"{server.main}/learner/reset")).code == 200
        await until_named(viewer, BRIGHT, 10)
        assert (await take_back(server)).code == 409


async def test_a_lesson_that_takes_long_does_not_hold_the_picture_up() -> None:
    times = ModelTimes(start_s=60, first_step_s=10, step_s=0.6)
    opener = functools.partial(FakeTracker, lesson_s=1.5)
    app = create_app(Settings(source=URL), open_segmenter=opener, times=times)
    async with serving(app) as server, server.viewer("plain") as viewer:
        press = await a_press(viewer)
        before, began = len(viewer.frames), time.monotonic()
        assert (await teach(server, press, NEVER)).code == 200
        assert time.monotonic() - began >= 1.5
        assert len(viewer.frames) - before > 5, "pictures went on, without masks"
        await until_named(viewer, NEVER, 10)
        assert (await server.status())["model_starts"] == 1


def picture(number: int, image: UInt8Array, fps: int = 25) -> Frame:
    return Frame(image, number, 0, number * 1_000_000_000 // fps)


@pytest.mark.parametrize(
    ("side", "fps", "most"), [(64, 25, 51), (64, 60, KEPT), (4096, 25, KEPT_BYTES // (3 * 4096**2))]
)
def test_frames_that_are_kept_are_bounded_by_time_number_and_bytes(
    side: int, fps: int, most: int
) -> None:
    image, kept = np.zeros((side, side, 3), np.uint8), KeptFrames()
    for number in range(1000):
        kept.add(picture(number, image, fps))
    assert len(kept) == most
    assert kept.nbytes == most * image.nbytes
    newest, gone = picture(999, image, fps), picture(999 - most, image, fps)
    assert kept.of(rtp_stamp(newest.captured_ns)) == newest
    assert kept.of(rtp_stamp(gone.captured_ns)) is None


def test_no_more_than_a_few_frames_are_held() -> None:
    image, kept = np.zeros((8, 8, 3), np.uint8), KeptFrames()
    pressed = [picture(number, image) for number in range(0, 10 * KEPT, KEPT)]
    for frame in pressed:
        kept.add(frame)
        kept.hold(frame)
    there = [kept.of(rtp_stamp(frame.captured_ns)) is not None for frame in pressed]
    assert there == [False] * (len(pressed) - HELD) + [True] * HELD


SAID = "document.getElementById('said').textContent"


async def press_until_it_is_on_something(browser: Browser) -> None:
    """Press in the middle of what is bright and choose the second name, until that was taught."""
    page = browser.page
    for _ in range(20):
        green = cv2.blur((await browser.grab())[..., 1], (9, 9))  # bright, or tinted green for it
        y, x = (np.argwhere(green == green.max())[0] + 0.5) / green.shape
        box = await page.locator("#video").bounding_box()
        assert box is not None
        scale = min(box["width"] / 320, box["height"] / 240)
        left = box["x"] + box["width"] / 2 + (x - 0.5) * 320 * scale
        top = box["y"] + box["height"] / 2 + (y - 0.5) * 240 * scale
        await page.mouse.click(left, top)
        await browser.until("!document.getElementById('names').hidden")
        badge, names = page.locator(".state"), page.locator("#names")
        above, menu = await badge.bounding_box(), await names.bounding_box()
        assert above is not None
        assert menu is not None
        assert menu["y"] >= above["y"] + above["height"], "the badge is never hidden"
        assert await names.inner_text() == "bright\n1\nnever\n2\nnothing\n0\ncancel\nEsc"
        await page.keyboard.press("2")
        await browser.until(f"/^(Learnt|Expected)/.test({SAID})")
        if (await page.inner_text("#said")) == "Learnt: never.":
            return
        assert "found none there" in await page.inner_text("#said")
    raise AssertionError("never on anything bright")


@pytest.mark.browser
@pytest.mark.parametrize("view", ["burnt", "composed"])
async def test_on_the_display_one_presses_names_and_undoes(chromium: str, view: str) -> None:
    present = "document.querySelectorAll('.class')[{}].classList.contains('absent') === {}"
    opener = functools.partial(FakeTracker)
    source = "phantom://?seed=3&size=320x240&fps=10"
    app = create_app(Settings(source=source), open_segmenter=opener, times=TIMES)
    async with (
        serving(app) as server,
        open_page(chromium, f"{server.url}/display/main?view={view}") as browser,
    ):
        page = browser.page
        await browser.playing()
        await browser.until(present.format(1, "true"))
        await page.keyboard.press("t")
        assert "TEACHING" in await page.inner_text("#notes")
        await press_until_it_is_on_something(browser)
        await browser.until(present.format(1, "false"), 5)
        await page.keyboard.press("u")
        await browser.until(f"{SAID} === 'Taken back.'")
        await browser.until(present.format(0, "false"), 5)
        assert (await server.status())["lessons"] == {"taught": 1, "taken_back": 1}
        await page.keyboard.press("u")
        await page.keyboard.press("t")
        await page.mouse.click(300, 300)
        assert not await page.is_visible("#names"), "where nobody teaches a press means nothing"
        assert "TEACHING" not in await page.inner_text("#notes")
        assert (await server.status())["lessons"] == {"taught": 1, "taken_back": 1}

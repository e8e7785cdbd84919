"""From a frame's capture to its pixels in headless Chromium, on the display page itself.

`python -m benchmarks.in_browser OUT.json`. The page plays as it would anywhere; beside it, a few
lines read the frame's number from what the page shows, the moment it shows it. The page's clock is
set against ours by the quickest of many questions for the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from playwright.async_api import Page, async_playwright

from benchmarks.environment import environment
from benchmarks.loopback import (
    LoopbackConfig,
    LoopSource,
    loopback_pictures,
    loopback_session,
)
from benchmarks.timing import distribution
from service.routes.pages import STATIC
from service.session import Session
from service.settings import let_threads_sleep
from streaming.mark import CELL, COLUMNS, ROWS, read_mark

VIEWS = {"burnt in": "", "composed": "?view=composed"}
QUESTIONS = 200  # for the time
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")

# Notes [milliseconds, the mark's cells] of each new number. The burnt-in view is read in the
# callback of a new frame; the composed one after the page has drawn, before the screen is painted.
WATCH = """([cell, columns, rows, composed]) => {
  const video = document.getElementById("video");
  const shown = composed ? document.getElementById("picture") : video;
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [columns, rows];
  const context = copy.getContext("2d", { willReadFrequently: true });
  const seen = window.seen = [];
  let last = "";
  const look = () => {
    if (composed) requestAnimationFrame(look); else video.requestVideoFrameCallback(look);
    const now = performance.now();
    const height = composed ? shown.height : shown.videoHeight;
    context.drawImage(shown, 0, height - rows * cell, columns * cell, rows * cell,
                      0, 0, columns, rows);
    const pixels = context.getImageData(0, 0, columns, rows).data;
    const lit = (_, at) => pixels[at * 4 + 1] > 127 ? 1 : 0;
    const bits = Array.from({ length: columns * rows }, lit);
    const key = bits.join("");
    if (key !== last) seen.push([now, bits]);
    last = key;
  };
  look();
}"""


@dataclass(frozen=True)
class InBrowserConfig:
    """seconds: of each view, after warm-up; size: (H, W)"""

    seconds: float = 30.0
    warm_up_s: float = 6.0
    size: tuple[int, int] = (480, 640)
    fps: int = 25
    chromium: str = "chromium"
    note: str = ""


async def measure(config: InBrowserConfig) -> dict[str, Any]:
    """Both views, one after the other, on one session with the real model."""
    loop = LoopbackConfig(size=config.size, fps=config.fps)
    result: dict[str, Any] = {
        "what": "capture to pixels in headless Chromium, one viewer, one machine; ms",
        "note": config.note,
        "config": asdict(config),
        "environment": environment(),
    }
    pictures = loopback_pictures(loop)
    async with loopback_session(pictures, loop) as (session, source), _served(session) as url:
        for name, query in VIEWS.items():
            result[name] = await _one(f"{url}/display/main{query}", source, config)
            result[name]["step_ms"] = session.status()["step_ms"]
    return result


async def _one(url: str, source: LoopSource, config: InBrowserConfig) -> dict[str, Any]:
    composed = "composed" in url
    async with _page(url, config.chromium) as page:
        await asyncio.sleep(config.warm_up_s)
        offset_ms, doubt_ms = await _clock(page)
        await page.evaluate(WATCH, [CELL, COLUMNS, ROWS, composed])
        begin = time.monotonic_ns()
        await asyncio.sleep(config.seconds)
        seen: list[tuple[float, list[int]]] = await page.evaluate("window.seen")
        shown = await page.evaluate(
            "['badge', 'share'].map((id) => document.getElementById(id).textContent)"
        )
        version = page.context.browser.version if page.context.browser else ""
    latencies, unreadable = [], 0
    for now_ms, bits in seen:
        number = _number(bits)
        captured_ns = source.captured_ns.get(number) if number is not None else None
        if captured_ns is None:
            unreadable += 1
        elif captured_ns > begin:
            latencies.append(now_ms + offset_ms - captured_ns / 1e6)
    return distribution(latencies) | {
        "unreadable": unreadable,
        "clock_doubt_ms": round(doubt_ms, 2),
        "badge": shown[0],
        "with_masks_percent": shown[1] if composed else None,
        "chromium": version,
    }


async def _clock(page: Page) -> tuple[float, float]:
    """What to add to the page's milliseconds to get our monotonic ones; how far off it may be."""
    best = (float("inf"), 0.0)
    for _ in range(QUESTIONS):
        before = time.monotonic_ns()
        theirs: float = await page.evaluate("performance.now()")
        after = time.monotonic_ns()
        best = min(best, ((after - before) / 2e6, (before + after) / 2e6 - theirs))
    doubt_ms, offset_ms = best
    return offset_ms, doubt_ms


def _number(bits: list[int]) -> int | None:
    cells = np.asarray(bits, np.uint8).reshape(ROWS, COLUMNS) * np.uint8(255)
    image = np.repeat(np.repeat(cells, CELL, axis=0), CELL, axis=1)
    return read_mark(np.repeat(image[..., None], 3, axis=2))


@contextlib.asynccontextmanager
async def _page(url: str, chromium: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which(chromium) or chromium, args=list(ARGUMENTS)
        )
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 720})
            await page.goto(url)
            yield page
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def _served(session: Session) -> AsyncIterator[str]:
    """The display page on this session; what it asks for and no more."""
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/display/main")
    async def display() -> FileResponse:
        return FileResponse(STATIC / "display.html")

    @app.get("/api/ice")
    async def ice() -> dict[str, Any]:
        return {"iceServers": []}

    @app.get("/api/sessions/main")
    async def status() -> dict[str, Any]:
        return session.status()

    @app.post("/api/sessions/main/offer")
    async def offer(request: Request) -> dict[str, str]:
        body = await request.json()
        answer = await session.peers.answer(body["sdp"], body["view"])
        return {"sdp": answer.sdp, "type": "answer"}

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=InBrowserConfig.seconds)
    parser.add_argument("--fps", type=int, default=InBrowserConfig.fps)
    parser.add_argument("--chromium", default=InBrowserConfig.chromium)
    parser.add_argument("--note", default="", help="what else was running")
    given = parser.parse_args()
    let_threads_sleep()
    config = InBrowserConfig(
        seconds=given.seconds, fps=given.fps, chromium=given.chromium, note=given.note
    )
    result = asyncio.run(measure(config))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    for view in VIEWS:
        print(view, json.dumps(result[view]))


if __name__ == "__main__":
    main()

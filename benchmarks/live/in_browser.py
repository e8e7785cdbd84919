"""From a frame's capture to its pixels in headless Chromium, on the display page itself.

The page plays as it would anywhere; beside it, a few lines read the frame's number from what the
page shows, the moment it shows it. The page's clock is set against ours by the quickest of many
questions for the time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Page

from benchmarks.live.browser_stages import Noted, latencies_ms, stages_ms
from benchmarks.live.display_page import VIEWS, display_page, version_of
from benchmarks.live.loopback import (
    LoopbackConfig,
    LoopSource,
    loopback_pictures,
    loopback_session,
)
from benchmarks.result_file import result, write_result
from benchmarks.speed.timing import distribution, latency_lines
from service.live.session import Session
from service.settings import let_threads_sleep
from streaming.mark import CELL, COLUMNS, ROWS, WRAP

QUESTIONS = 200  # for the time

# Before the page's own scripts: when each mask came, for which RTP time and which frame.
MASKS = """
  window.came = [];
  const make = RTCPeerConnection.prototype.createDataChannel;
  RTCPeerConnection.prototype.createDataChannel = function (...given) {
    const channel = make.apply(this, given);
    channel.addEventListener("message", ({ data }) => {
      const view = new DataView(data);
      came.push([performance.now(), view.getUint32(4, true), view.getUint32(8, true)]);
    });
    return channel;
  };"""

# `seen`: [milliseconds, the mark's cells] of each new number. The burnt-in view is read in the
# callback of a new frame; the composed one after the page has drawn, before the screen is painted.
# `called`: [milliseconds, when its last packet came, RTP time, the mark's cells or none] of each
# frame's callback.
WATCH = """([cell, columns, rows, composed]) => {
  const video = document.getElementById("video");
  const shown = composed ? document.getElementById("picture") : video;
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [columns, rows];
  const context = copy.getContext("2d", { willReadFrequently: true });
  const [seen, called] = [window.seen, window.called] = [[], []];
  came.length = 0;
  let last = "";
  const look = () => {
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
    return bits;
  };
  const everyFrame = (now, { receiveTime, rtpTimestamp }) => {
    video.requestVideoFrameCallback(everyFrame);
    called.push([performance.now(), receiveTime, rtpTimestamp, composed ? null : look()]);
  };
  video.requestVideoFrameCallback(everyFrame);
  const everyRepaint = () => { requestAnimationFrame(everyRepaint); look(); };
  if (composed) everyRepaint();
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
    pictures = loopback_pictures(loop)
    async with loopback_session(pictures, loop) as (session, source):
        views = {name: await _one(session, name, source, config) for name in VIEWS}
        updates = session.status().updates
    return result(
        "in-browser",
        asdict(config),
        config.note,
        what="capture to pixels in headless Chromium, one viewer, one machine; ms",
        updates=updates,
        **views,
    )


async def _one(
    session: Session, view: str, source: LoopSource, config: InBrowserConfig
) -> dict[str, Any]:
    composed = view == "composed"
    async with display_page(session, view, config.chromium, script=MASKS) as page:
        await asyncio.sleep(config.warm_up_s)
        offset_ms, doubt_ms = await _clock(page)
        await page.evaluate(WATCH, [CELL, COLUMNS, ROWS, composed])
        begin = time.monotonic_ns()
        await asyncio.sleep(config.seconds)
        kept = await page.evaluate("({ seen, called, came })")
        told = await page.evaluate(
            "['badge', 'share'].map((id) => document.getElementById(id).textContent)"
        )
        version = version_of(page)
    captured_ms = {n % WRAP: at / 1e6 for n, at in source.captured_ns.items() if at > begin}
    noted, status = Noted(**kept, offset_ms=offset_ms), session.status()
    times, unreadable = latencies_ms(noted, captured_ms)
    pictures = session.numbers.plain if composed else session.numbers.overlay
    sent = float(np.median(pictures.capture_to_send_ms(begin)))
    return distribution(times) | {
        "stages_ms": stages_ms(noted, captured_ms, sent),
        "step_ms": asdict(status.step_ms),
        "unreadable": unreadable,
        "clock_doubt_ms": round(doubt_ms, 2),
        "badge": told[0],
        "with_masks_percent": told[1] if composed else None,
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


def run_in_browser(config: InBrowserConfig, out: Path) -> int:
    """Measure, print, write the JSON."""
    let_threads_sleep()
    content = asyncio.run(measure(config))
    print(in_browser_table(content))
    write_result(content, out)
    return 0


def in_browser_table(content: dict[str, Any]) -> str:
    """For a person."""
    lines = latency_lines("capture to pixels", {view: content[view] for view in VIEWS})
    return "\n".join([*lines, f"updates: {content['updates']}"])

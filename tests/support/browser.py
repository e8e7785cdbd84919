"""Headless Chromium on a served page."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from playwright.async_api import Page, async_playwright

from models.types import UInt8Array

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
)
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
GRAB = """(id) => {
  const shown = document.getElementById(id);
  const canvas = document.createElement("canvas");
  canvas.width = shown.videoWidth || shown.width;
  canvas.height = shown.videoHeight || shown.height;
  canvas.getContext("2d").drawImage(shown, 0, 0);
  return canvas.toDataURL("image/png");
}"""


@dataclass
class Browser:
    """A page, and everything it complained about or asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def grab(self, element: str = "video") -> UInt8Array:
        """The picture that a video or canvas holds now. (H, W, 3) RGB"""
        data = await self.page.evaluate(GRAB, element)
        return decode_png(base64.b64decode(data.split(",", 1)[1]))

    async def screenshot(self) -> UInt8Array:
        """What the whole page looks like. (H, W, 3) RGB"""
        return decode_png(await self.page.screenshot())

    async def until(self, expression: str, seconds: float = 20) -> Any:
        """Wait until a JavaScript expression is true; its value.

        Playwright's own wait evaluates a string inside the page, which the page's policy forbids.
        """
        end = asyncio.get_running_loop().time() + seconds
        while not (value := await self.page.evaluate(expression)):
            assert asyncio.get_running_loop().time() < end, f"never true: {expression}"
            await asyncio.sleep(0.05)
        return value

    async def badge(self, text: str, seconds: float = 20) -> None:
        """Wait until the display's badge says so."""
        end = asyncio.get_running_loop().time() + seconds
        while (now := await self.page.inner_text("#badge")) != text:
            assert asyncio.get_running_loop().time() < end, f"{now}, not {text}"
            await asyncio.sleep(0.05)

    async def playing(self) -> None:
        """Wait until the video plays."""
        await self.until("document.getElementById('video').currentTime > 0.5", 30)

    def heard(self, text: str) -> None:
        """Note what the console says; its advice about our own reading of canvases is no matter."""
        if "willReadFrequently" not in text:
            self.console.append(text)

    def hosts(self) -> set[str]:
        """Whom the page asked."""
        return {request.split("/")[2] for request in self.requests if "://" in request}


def decode_png(content: bytes) -> UInt8Array:
    """(H, W, 3) RGB."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


@contextlib.asynccontextmanager
async def open_page(
    chromium: str,
    url: str,
    *,
    size: tuple[int, int] = (1280, 720),
    arguments: Sequence[str] = (),
) -> AsyncIterator[Browser]:
    """The page at url in a fresh headless browser. size: (width, height) of the window"""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=[*ARGUMENTS, *arguments]
        )
        page = await browser.new_page(viewport={"width": size[0], "height": size[1]})
        opened = Browser(page)
        page.on("console", lambda message: opened.heard(message.text))
        page.on("pageerror", lambda error: opened.console.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        try:
            await page.goto(url)
            yield opened
        finally:
            await browser.close()

"""Headless Chromium on a served page."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

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
GRAB = """() => {
  const video = document.getElementById("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/png");
}"""


@dataclass
class Browser:
    """A page, and everything it complained about or asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def grab(self) -> UInt8Array:
        """The picture the video element shows now. (H, W, 3) RGB"""
        data = await self.page.evaluate(GRAB)
        content = np.frombuffer(base64.b64decode(data.split(",", 1)[1]), np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR)
        assert image is not None
        return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)

    async def playing(self) -> None:
        """Wait until the video plays."""
        await self.page.wait_for_function("document.getElementById('video').currentTime > 0.5")


@contextlib.asynccontextmanager
async def open_page(chromium: str, url: str) -> AsyncIterator[Browser]:
    """The page at url in a fresh headless browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        page = await browser.new_page(viewport={"width": 1280, "height": 720})
        opened = Browser(page)
        page.on("console", lambda message: opened.console.append(message.text))
        page.on("pageerror", lambda error: opened.console.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        try:
            await page.goto(url)
            yield opened
        finally:
            await browser.close()

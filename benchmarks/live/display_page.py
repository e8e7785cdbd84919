"""The display page in headless Chromium, on a session of this process."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from playwright.async_api import Error, Page, async_playwright

from service.errors import UsageError
from service.http.routes.pages import STATIC
from service.live.session import Session
from service.live.status import SessionStatus

AnswerView = Callable[[str, str], Awaitable[str]]  # (SDP offer, view) -> SDP answer
VIEWS = {"burnt in": "", "composed": "?view=composed"}
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


def found(chromium: str) -> str:
    """Where the program is. Raises UsageError."""
    executable = shutil.which(chromium)
    if executable is None:
        raise UsageError(f"expected a Chromium, found no program {chromium}")
    return executable


@contextlib.asynccontextmanager
async def display_page(
    session: Session,
    view: str,
    chromium: str,
    *,
    answer: AnswerView | None = None,
    script: str = "",
) -> AsyncIterator[Page]:
    """The page that plays this session. Raises UsageError: no such Chromium, or it does not start.

    view: of VIEWS; answer: in place of the session's own; script: runs in the page before its own
    """
    executable = found(chromium)

    async def own(sdp: str, wanted: str) -> str:
        return (await session.peers.answer(sdp, wanted)).sdp

    async with _served(session, answer or own) as url, async_playwright() as playwright:
        try:
            launch = playwright.chromium.launch
            browser = await launch(executable_path=executable, args=list(ARGUMENTS))
        except Error as error:
            raise UsageError(f"expected a Chromium, {executable} does not start as one") from error
        try:
            page = await browser.new_page(viewport={"width": 1280, "height": 720})
            await page.add_init_script(script)
            await page.goto(f"{url}/display/main{VIEWS[view]}")
            yield page
        finally:
            await browser.close()


def version_of(page: Page) -> str:
    """Of the browser."""
    return page.context.browser.version if page.context.browser else ""


@contextlib.asynccontextmanager
async def _served(session: Session, answer: AnswerView) -> AsyncIterator[str]:
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/display/main")
    async def display() -> FileResponse:
        return FileResponse(STATIC / "display.html")

    @app.get("/api/ice")
    async def ice() -> dict[str, Any]:
        return {"iceServers": []}

    @app.get("/api/sessions/main")
    async def status() -> SessionStatus:
        return session.status()

    @app.post("/api/sessions/main/offer")
    async def offer(request: Request) -> dict[str, str]:
        body = await request.json()
        return {"sdp": await answer(body["sdp"], body["view"]), "type": "answer"}

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

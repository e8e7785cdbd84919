"""Refuses what must not reach the routes: foreign pages, foreign names, bodies without end.

A page elsewhere on the web can make a browser post to a loopback address, or point a name of its
own at it; both are told apart by the Origin and the Host that the browser states.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings import LOOPBACK

LARGEST_BODY = 128 * 1024
READ_AND_FORGET = 4 * 1024 * 1024  # of a body that is too large, so that its sender reads why


class Guard:
    """ASGI middleware; `any_host` is for a service that is open to a network on purpose."""

    def __init__(self, app: ASGIApp, *, any_host: bool) -> None:
        self._app, self._any_host = app, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 or 413 in one sentence, or let the request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        if not self._any_host and (urlsplit(f"//{host}").hostname or "") not in LOOPBACK:
            await _refuse(403, "expected a request to a loopback address", scope, receive, send)
        elif origin is not None and urlsplit(origin).netloc != host:
            await _refuse(403, "expected a request from our own page", scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body here, as far as the limit, so that no route ever holds more."""
        body, size, more = b"", 0, True
        while more and size < READ_AND_FORGET:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunk = message.get("body", b"")
            size, more = size + len(chunk), message.get("more_body", False)
            if size <= LARGEST_BODY:
                body += chunk
        if size > LARGEST_BODY:
            text = f"expected a body of at most {LARGEST_BODY // 1024} KiB"
            await _refuse(413, text, scope, receive, send)
            return
        handed_over = False

        async def replay() -> Message:
            nonlocal handed_over
            if handed_over:
                return await receive()
            handed_over = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _refuse(code: int, text: str, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"detail": text}, code, {"Connection": "close"})(scope, receive, send)

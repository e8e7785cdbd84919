"""Refuses what must not reach the routes: strangers, foreign pages and names, bodies without end.

A page elsewhere on the web can make a browser post to a loopback address, or point a name of its
own at it; both are told apart by the Origin and the Host that the browser states.

A token, where one is set, comes as `Authorization: Bearer`, as our cookie, or once in the address
of a page (`?token=`), which answers with the cookie and the address without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, unquote_plus, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings import LOOPBACK

COOKIE = "trocar_token"
OPEN_PATHS = ("/healthz", "/readyz")  # say nothing but well or not
LARGEST_BODY = 128 * 1024
BODY_S = 10.0  # for all of it
READ_AND_FORGET = 4 * 1024 * 1024  # of a body that is too large, so that its sender reads why


class Auth:
    """ASGI middleware; `any_host` is for a service that is open to a network on purpose."""

    def __init__(self, app: ASGIApp, *, any_host: bool, token: str | None = None) -> None:
        self._app, self._any_host, self._token = app, any_host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 408 or 413 in one sentence, or let the request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        if not self._any_host and not _is_loopback(host):
            await _refuse(403, "expected a request to a loopback address", scope, receive, send)
        elif origin is not None and not _is_own(origin, host):
            await _refuse(403, "expected a request from our own page", scope, receive, send)
        elif self._token is None or scope["path"] in OPEN_PATHS or self._knows(headers):
            await self._limited(scope, receive, send)
        elif scope["method"] == "GET" and self._is(_from_address(scope)):
            await _with_cookie(scope, self._token)(scope, receive, send)
        else:
            text = "expected the access token, as a bearer token or once as ?token= of the page"
            await _refuse(401, text, scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is(bearer)
        jar: SimpleCookie = SimpleCookie()
        with contextlib.suppress(CookieError):
            jar.load(headers.get("cookie", ""))
        return COOKIE in jar and self._is(jar[COOKIE].value)

    def _is(self, given: str | None) -> bool:
        """In a time that does not tell how much of it is right."""
        return given is not None and hmac.compare_digest(
            given.encode(), (self._token or "").encode()
        )

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body here, as far as the limits, so that no route ever holds or awaits more."""
        try:
            async with asyncio.timeout(BODY_S):
                body = await _body(receive)
        except TimeoutError:
            text = f"expected the whole request within {BODY_S:g} s"
            await _refuse(408, text, scope, receive, send)
            return
        if body is None:
            return
        if len(body) > LARGEST_BODY:
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


async def _body(receive: Receive) -> bytes | None:
    """As far as it is kept, a byte past the limit at most; None where its sender has gone."""
    body, size, more = b"", 0, True
    while more and size < READ_AND_FORGET:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size, more = size + len(chunk), message.get("more_body", False)
        body = (body + chunk)[: LARGEST_BODY + 1]
    return body


def _is_loopback(host: str) -> bool:
    try:
        return (urlsplit(f"//{host}").hostname or "") in LOOPBACK
    except ValueError:  # no address at all
        return False


def _is_own(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _from_address(scope: Scope) -> str | None:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token")
    return given[0] if given else None


def _with_cookie(scope: Scope, token: str) -> RedirectResponse:
    """To the same page, the token out of the address and into a cookie that scripts cannot read."""
    page = "/" + scope["path"].lstrip("/")  # never to another host
    rest = _without_token(scope["query_string"].decode("latin-1"))
    answer = RedirectResponse(f"{page}?{rest}" if rest else page, 303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return answer


def _without_token(query: str) -> str:
    """The rest of it as it was given: it says how the page is to look."""
    pairs = query.split("&")
    return "&".join(pair for pair in pairs if unquote_plus(pair.partition("=")[0]) != "token")


async def _refuse(code: int, text: str, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Connection": "close"}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 6750; WHIP and WHEP clients look for it
    await JSONResponse({"detail": text}, code, headers)(scope, receive, send)

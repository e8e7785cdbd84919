"""Who may ask the service for anything."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message

import pytest

from service.errors import UsageError
from service.http.app import create_app
from service.settings import Settings
from tests.support.asking import ask
from tests.support.fakes import FakeTracker
from tests.support.live_service import Server, serving
from tests.support.scripted_service import TIMES, URL, app_with

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "http://["},
        {"Host": "elsewhere.example"},
        {"Host": "["},
    ],
)
async def test_pages_from_elsewhere_control_nothing(headers: dict[str, str]) -> None:
    def post(server: Server) -> tuple[int, str]:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        connection.request("POST", "/api/sessions/main/learner/freeze", headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    async with serving(app_with()) as server:
        code, message = await asyncio.to_thread(post, server)
        assert code == 403
        assert "expected a request" in message
        assert not (await server.status())["learner_frozen"]


async def answers(url: str, **headers: str) -> int:
    """Status of a GET, redirects not followed."""

    def get() -> int:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", url.removeprefix(f"http://{parts.netloc}"), headers=headers)
            return connection.getresponse().status

    return await asyncio.to_thread(get)


async def test_with_a_token_only_the_health_checks_are_open() -> None:
    app = create_app(Settings(source=URL, token=TOKEN), open_segmenter=FakeTracker, times=TIMES)
    async with serving(app) as server:
        for path in ("/", "/api/sessions", "/metrics", "/static/display.js", "/openapi.json"):
            assert await answers(server.url + path) == 401, path
            assert await answers(server.url + path, Authorization="Bearer wrong") == 401
            assert await answers(server.url + path, Cookie="trocar_token=wrong") == 401
            assert await answers(server.url + path, Authorization=f"Bearer {TOKEN}") == 200
            assert await answers(server.url + path, Cookie=f"trocar_token={TOKEN}") == 200
        assert await answers(f"{server.url}/healthz") == 200
        assert await answers(f"{server.url}/?token=wrong") == 401
        assert await answers(f"{server.url}/?token={TOKEN}") == 303


async def test_trading_a_token_for_a_cookie_keeps_the_rest_of_the_address() -> None:
    app = create_app(Settings(source=URL, token=TOKEN), open_segmenter=FakeTracker, times=TIMES)
    async with serving(app) as server:
        page = f"{server.url}/display/main"
        for given, kept in [
            (f"?view=composed&hold=1&token={TOKEN}", "?view=composed&hold=1"),
            (f"?%74oken={TOKEN}&view=a%26b%20c&tokens=2", "?view=a%26b%20c&tokens=2"),
            (f"?token={TOKEN}", ""),
        ]:
            traded = await ask("GET", page + given)
            assert (traded.code, traded.headers["location"]) == (303, f"/display/main{kept}")
            assert TOKEN in traded.headers["set-cookie"]


def test_another_address_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TROCAR_TOKEN", raising=False)
    with pytest.raises(UsageError, match=r"expected a token to serve on 0\.0\.0\.0"):
        Settings.from_environment(host="0.0.0.0")
    monkeypatch.setenv("TROCAR_TOKEN", "short")
    with pytest.raises(UsageError, match="at least 16 characters, got 5"):
        Settings.from_environment()
    monkeypatch.setenv("TROCAR_TOKEN", TOKEN)
    assert Settings.from_environment(host="0.0.0.0").token == TOKEN


async def test_a_body_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does anybody need a token for it."""
    monkeypatch.setattr("service.http.auth.BODY_S", 0.5)
    head = b"POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf of it"
    async with serving(app_with()) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        answer = await asyncio.wait_for(reader.read(), 10)  # to the end: the connection is closed
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"expected the whole request within 0.5 s" in answer


async def test_pages_are_of_this_version_and_of_no_other_page() -> None:
    async with serving(app_with()) as server:
        for path in ("/", "/display/main", "/static/display.js"):
            headers = await asyncio.to_thread(headers_of, server.url + path)
            assert headers["Cache-Control"] == "no-cache"
            if not path.startswith("/static"):
                assert headers["X-Frame-Options"] == "DENY"


def headers_of(url: str) -> Message:
    with urllib.request.urlopen(url, timeout=10) as answer:
        headers: Message = answer.headers
    return headers

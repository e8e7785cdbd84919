"""HTTP by hand: any method, any header, and the answer as it is."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer. headers: names in lower case"""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def sentence(self) -> str:
        """Why it was refused; that it is one short sentence is asserted."""
        text = self.json["detail"]
        assert isinstance(text, str)
        assert 10 < len(text) < 300, text
        assert "\n" not in text
        assert "Traceback" not in text
        return text


async def ask(
    method: str,
    url: str,
    body: bytes | dict[str, Any] | None = None,
    *,
    seconds: float = 60,
    **headers: str,
) -> Reply:
    """One request over a connection of its own; a dict is sent as JSON. `_` in a header is `-`."""
    if isinstance(body, dict):
        body, headers = json.dumps(body).encode(), {"Content_Type": "application/json", **headers}
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def exchange() -> Reply:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=seconds)
        with contextlib.closing(connection):
            connection.request(method, url.removeprefix(f"http://{parts.netloc}"), body, named)
            answer = connection.getresponse()
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, lower, answer.read())

    return await asyncio.to_thread(exchange)

"""A small HTTP server on a real socket whose faults a test chooses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file at any path, and how it is served.

    cuts: bytes after which the next answers' connections end, one each, counted in the answer
    ranges: does it know Range at all; conditional: does it honour If-Range
    status: instead of the file; location: where it sends on to; stall: stop sending, never end
    requests: the headers that came
    """

    content: bytes
    etag: str = '"one"'
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    conditional: bool = True
    length: bool = True
    status: int | None = None
    location: str | None = None
    stall: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Runs the server; its address is then in `served.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield served
    finally:
        served.stall = False
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def do_GET(self) -> None:
            served.requests.append(dict(self.headers))
            if served.location is not None and not self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", served.location)
                self.end_headers()
                return
            if served.status is not None:
                self.send_error(served.status)
                return
            start = self._start()
            if start and start >= len(served.content):
                self.send_error(416)
                return
            self._send(start)

        def _start(self) -> int:
            wanted, known = self.headers.get("Range"), self.headers.get("If-Range")
            changed = served.conditional and known != served.etag
            if wanted is None or not served.ranges or changed:
                return 0
            return int(wanted.removeprefix("bytes=").split("-")[0])

        def _send(self, start: int) -> None:
            body, total = served.content[start:], len(served.content)
            self.send_response(206 if start else 200)
            if served.etag:
                self.send_header("ETag", served.etag)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            if served.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if served.cuts:
                body = body[: served.cuts.pop(0)]
            served.sent += len(body)  # before: the client may be done first
            with suppress(ConnectionError):  # or gone
                self.wfile.write(body)
            while served.stall:
                time.sleep(0.02)

    return Handler

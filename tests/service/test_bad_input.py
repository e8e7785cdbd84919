"""Bad input over real sockets: a 4xx, one clear sentence, and a service that goes on unharmed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.service.test_sessions import OTHER, app_with
from tests.support.asking import ask
from tests.support.live_service import serving
from tests.support.scripted_service import frames

SDP, JSON = "application/sdp", "application/json"
# A section that WebRTC needs more of than its first line.
TORN = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
AUDIO = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
DEEP = b"[" * 50_000
SECRET = "rtsp://surgeon:secret@"


def source(url: str) -> bytes:
    """A session to open."""
    return json.dumps({"source": url}).encode()


def offer(sdp: bytes) -> bytes:
    """A viewer's offer."""
    return json.dumps({"sdp": sdp.decode(), "type": "offer"}).encode()


# path, body, content type; code and a part of the sentence
CASES: list[tuple[str, bytes, str, int, str]] = [
    ("/api/sessions/main/offer", offer(b"nonsense"), JSON, 400, "expected an"),
    ("/api/sessions/main/offer", offer(TORN), JSON, 400, "expected an"),
    ("/api/sessions/main/offer", offer(AUDIO), JSON, 400, "no video section"),
    ("/api/sessions/main/offer", offer(b"a" * 100_000), JSON, 422, "body.sdp"),
    ("/api/sessions/main/offer", b'{"sdp": "v=0"}', JSON, 422, "body.type"),
    ("/api/sessions/main/offer", b'{"sdp": "v=0", "type": "answer"}', JSON, 422, "body.type"),
    ("/api/sessions/main/offer", b"{", JSON, 422, "body"),
    ("/api/sessions/main/offer", DEEP, JSON, 400, "parsing the body"),
    ("/api/sessions/main/offer", b"\xff\xfe\x00", JSON, 400, "parsing the body"),
    ("/api/sessions/main/offer", offer(TORN), "text/plain", 422, "body"),
    ("/api/sessions/none/offer", offer(TORN), JSON, 404, "expected the id of a session"),
    ("/api/sessions/main/learner/forget", b"", JSON, 422, "path.action"),
    ("/api/sessions/none/learner/reset", b"", JSON, 404, "expected the id of a session"),
    ("/whep/main", TORN, SDP, 400, "expected an"),
    ("/whep/main", b"\x00" * 100, SDP, 400, "expected an"),
    ("/whep/main", TORN, JSON, 415, f"of type {SDP}"),
    ("/whep/none", TORN, SDP, 404, "expected the id of a session"),
    ("/whep/main", b"v" * 70_000, SDP, 413, "at most 64 KiB"),
    ("/whep/main", b"v" * 3_000_000, SDP, 413, "at most 128 KiB"),
    ("/whip/main", TORN, SDP, 409, "whip://"),
    ("/api/sessions", source(f"{SECRET}127.0.0.1/x"), JSON, 403, "--allow-local-sources"),
    ("/api/sessions", source(f"{SECRET}169.254.169.254/x"), JSON, 403, "--allow-local-sources"),
    ("/api/sessions", source(f"{SECRET}[::1]:554/x"), JSON, 403, "--allow-local-sources"),
    ("/api/sessions", source("/etc/passwd"), JSON, 403, "inside the folder"),
    ("/api/sessions", source("file:///etc/passwd"), JSON, 403, "inside the folder"),
    ("/api/sessions", source("../../etc/passwd"), JSON, 403, "inside the folder"),
    ("/api/sessions", source("v4l2:///dev/video0"), JSON, 403, "--allow-devices"),
    ("/api/sessions", source("http://x/y.mp4"), JSON, 400, "got a http:// URL"),
    ("/api/sessions", source("file:///a%00b"), JSON, 400, "printable characters"),
    ("/api/sessions", source("a" * 300), JSON, 400, "cannot be the name"),
    ("/api/sessions", source("rtsp://[bad"), JSON, 400, "address of a source"),
    ("/api/sessions", source("phantom://[bad"), JSON, 400, "address of a source"),
    ("/api/sessions", source("concat:a|b"), JSON, 400, "no such file"),
    ("/api/sessions", source("phantom://?size=9x9"), JSON, 400, "64 to 1920"),
    ("/api/sessions", source("phantom://?size=64x64&mark=1"), JSON, 400, "192 wide or more"),
    ("/api/sessions", source("phantom://?seed=" + "9" * 5000), JSON, 422, "body.source"),
    ("/api/sessions", source("phantom://?fps=1e999999999"), JSON, 400, "phantom://"),
    ("/api/sessions", b'{"source": 7}', JSON, 422, "body.source"),
    ("/api/sessions", source(OTHER), "text/plain", 422, "body"),
    ("/api/sessions", b"x" * 3_000_000, JSON, 413, "at most 128 KiB"),
]


async def test_every_bad_request_is_one_sentence_and_harms_nothing(tmp_path: Path) -> None:
    async with serving(app_with(media=tmp_path)) as server, server.viewer() as viewer:
        await frames(viewer, 5)
        for path, body, kind, code, expected in CASES:
            refused = await ask("POST", server.url + path, body, seconds=20, Content_Type=kind)
            case = (path, body[:60], refused.code, refused.body[:300])
            assert refused.code == code, case
            assert expected in refused.sentence, case
            assert "secret" not in refused.sentence
            assert "surgeon" not in refused.sentence
        await frames(viewer, len(viewer.frames) + 5)
        listed = (await ask("GET", f"{server.url}/api/sessions")).json["sessions"]
        assert [one["id"] for one in listed] == ["main"]
        status = await server.status()
        assert (status["badge"], status["viewers"]) == ("DEMO", 1), "refused offers hold no place"
        assert status["model_starts"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"NOT HTTP AT ALL\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /whep/main HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /whep/main HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\nv=0",
        b"",
    ],
)
async def test_what_is_not_http_harms_nothing(sent: bytes) -> None:
    async with serving(app_with()) as server:
        host, port = server.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        writer.close()
        assert (await ask("GET", f"{server.url}/healthz")).code == 200
        assert (await ask("GET", server.main)).code == 200

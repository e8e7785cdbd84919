"""WHIP and WHEP over real sockets, with an independent client at either end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from fastapi import FastAPI

from service.errors import UsageError
from service.relay import Relay
from service.settings import Settings
from streaming.mark import read_mark
from streaming.negotiation import SdpAnswer
from tests.service.test_sessions import app_with
from tests.support.asking import Reply, ask
from tests.support.live_service import Server, serving
from tests.support.publisher import SIZE, publishing

SDP = "application/sdp"
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef"


class Player:
    """A WHEP client: it knows the address it posts to, and nothing else of us."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url, self.headers = url, headers
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.pictures: asyncio.Queue[np.ndarray] = asyncio.Queue()
        self.closed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def play(self) -> Reply:
        """Post an offer, and play what comes."""
        self.peer.addTransceiver("video", direction="recvonly")
        self.peer.on(
            "track", lambda track: self._tasks.append(asyncio.create_task(self._pull(track)))
        )
        self.peer.on("connectionstatechange", self._changed)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        sdp = self.peer.localDescription.sdp.encode()
        reply = await ask("POST", self.url, sdp, Content_Type=SDP, **self.headers)
        if reply.code == 201:
            answer = RTCSessionDescription(reply.body.decode(), "answer")
            await self.peer.setRemoteDescription(answer)
        return reply

    async def picture(self, seconds: float = 20) -> np.ndarray:
        """The next picture. (H, W, 3) RGB"""
        return await asyncio.wait_for(self.pictures.get(), seconds)

    async def close(self) -> None:
        """Leave."""
        await self.peer.close()
        for task in self._tasks:  # a track that never started is not told of the end
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pull(self, track: object) -> None:
        with contextlib.suppress(Exception):  # the track ends with the connection
            while True:
                frame = await track.recv()  # type: ignore[attr-defined]
                self.pictures.put_nowait(frame.to_ndarray(format="rgb24"))

    def _changed(self) -> None:
        if self.peer.connectionState in ("closed", "failed", "disconnected"):
            self.closed.set()


@contextlib.asynccontextmanager
async def player(url: str, **headers: str) -> AsyncIterator[Player]:
    """A player, closed at the end."""
    one = Player(url, **headers)
    try:
        yield one
    finally:
        await one.close()


def inbound() -> FastAPI:
    """A service whose session waits for a publisher."""
    return app_with(source="whip://")


async def viewers(server: Server, count: int) -> None:
    """Wait until the main session has so many."""
    end = asyncio.get_running_loop().time() + 20
    while (await server.status())["viewers"] != count:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


async def test_whep_plays_and_ends() -> None:
    async with serving(app_with()) as server, player(f"{server.url}/whep/main") as whep:
        reply = await whep.play()
        assert reply.code == 201
        assert reply.headers["content-type"] == SDP
        assert reply.headers["location"].startswith("/whep/main/")
        assert "a=candidate:" in reply.body.decode(), "no trickle: all candidates are in the answer"
        first = await whep.picture()
        assert first.shape == (240, 320, 3)
        assert read_mark(first) is not None
        await viewers(server, 1)
        address = server.url + reply.headers["location"]
        assert (await ask("DELETE", address)).code == 200
        await asyncio.wait_for(whep.closed.wait(), 10)
        await viewers(server, 0)
        gone = await ask("DELETE", address)
        assert gone.code == 404
        assert "address of a connection" in gone.sentence


async def test_whep_plays_the_untouched_picture() -> None:
    plain = app_with({"step_s": 0.4})  # no mask is ready when the picture goes out
    async with serving(plain) as server, player(f"{server.url}/whep/main?view=plain") as whep:
        assert (await whep.play()).code == 201
        numbers = [read_mark(await whep.picture()) for _ in range(12)]
        assert None not in numbers
        await viewers(server, 1)


async def test_what_whip_publishes_whep_plays() -> None:
    async with serving(inbound()) as server:
        replies: list[Reply] = []

        async def answer(sdp: str) -> SdpAnswer:
            url = f"{server.url}/whip/main"
            replies.append(await ask("POST", url, sdp.encode(), Content_Type=SDP))
            return SdpAnswer(replies[0].body.decode(), "")

        async with (
            publishing(answer) as track,
            player(f"{server.url}/whep/main?view=plain") as whep,
        ):
            assert replies[0].code == 201
            assert replies[0].headers["location"].startswith("/whip/main/")
            assert (await whep.play()).code == 201
            published, played = set(), set()
            while len(played) < 5:
                published.add(track.show())
                with contextlib.suppress(TimeoutError):
                    picture = await asyncio.wait_for(whep.pictures.get(), 0.2)
                    assert picture.shape == (*SIZE, 3)
                    played.add(read_mark(picture))
                assert len(published) < 200
            assert played <= published
            address = server.url + replies[0].headers["location"]
            assert (await ask("DELETE", address)).code == 200
            await server.until("SOURCE LOST")
            assert (await ask("DELETE", address)).code == 404


async def test_ffmpeg_publishes_by_whip(tmp_path: Path) -> None:
    async with serving(inbound()) as server, player(f"{server.url}/whep/main") as whep:
        assert (await whep.play()).code == 201
        command = ("-m", "tests.support.ffmpeg_whip", f"{server.url}/whip/main", str(tmp_path))
        ffmpeg = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
        try:
            numbers = [read_mark(await whep.picture(60)) for _ in range(20)]
        finally:
            ffmpeg.kill()
            await ffmpeg.wait()
        read = [number for number in numbers if number is not None]
        assert len(read) > 15
        assert read == sorted(set(read)), "each picture once, in order"
        await server.until("SOURCE LOST", 30)


async def test_only_a_whip_session_is_published_into() -> None:
    async with serving(app_with()) as server:
        refused = await ask("POST", f"{server.url}/whip/main", b"v=0\r\n", Content_Type=SDP)
        assert refused.code == 409
        assert "whip://" in refused.sentence


async def test_whip_sessions_are_opened_over_http() -> None:
    async with serving(app_with()) as server:
        opened = await ask("POST", f"{server.url}/api/sessions", {"source": "whip://"})
        assert opened.code == 201
        url = f"{server.url}/whip/{opened.json['id']}"
        refused = await ask("POST", url, b"nonsense", Content_Type=SDP)
        assert refused.code == 400


@pytest.mark.parametrize("door", ["whip", "whep"])
async def test_what_is_refused_at_the_door(door: str) -> None:
    async with serving(inbound()) as server:
        url = f"{server.url}/{door}/main"
        audio = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
        refusals = (
            (url, b"not sdp", SDP, 400),
            (url, b"", SDP, 400),
            (url, b"\xff\xfe", SDP, 400),
            (url, audio, SDP, 400),
            (url, b"v=0", "text/plain", 415),
            (url, b"{}", "application/json", 415),
            (url, b"a" * 100_000, SDP, 413),
            (url, b"a" * 1_000_000, SDP, 413),
            (f"{server.url}/{door}/none", b"v=0", SDP, 404),
        )
        for place, body, kind, code in refusals:
            refused = await ask("POST", place, body, Content_Type=kind)
            assert refused.code == code, (body[:20], refused.body)
            assert refused.sentence
        kind = (await ask("POST", url, b"v=0", Content_Type="text/plain")).headers["accept-post"]
        assert kind == SDP
        if door == "whep":
            odd = await ask("POST", f"{url}?view=odd", b"v=0", Content_Type=SDP)
            assert odd.code == 422
            assert "query.view" in odd.sentence


@pytest.mark.parametrize("door", ["whip", "whep"])
async def test_methods(door: str) -> None:
    async with serving(inbound()) as server:
        url = f"{server.url}/{door}/main"
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            refused = await ask(method, url)
            assert (refused.code, refused.headers["allow"]) == (405, "OPTIONS, POST"), method
        patched = await ask(
            "PATCH", f"{url}/some", b"", Content_Type="application/trickle-ice-sdpfrag"
        )
        assert (patched.code, patched.headers["allow"]) == (405, "DELETE, OPTIONS")
        told = await ask("OPTIONS", url)
        assert (told.code, told.headers["accept-post"]) == (204, SDP)
        foreign = await ask("OPTIONS", url, Origin="http://elsewhere.example")
        assert foreign.code == 403
        assert "access-control-allow-origin" not in foreign.headers


async def test_clients_are_told_of_a_relay_where_there_is_one() -> None:
    relay = Relay("turn:relay.example:3478?transport=udp", TOKEN)
    async with serving(app_with(relay=relay)) as server, player(f"{server.url}/whep/main") as whep:
        told = (await ask("OPTIONS", whep.url)).headers["link"]
        address, *parameters = told.split("; ")
        given = dict(one.split("=", 1) for one in parameters)
        assert (address, given["rel"]) == (f"<{relay.url}>", '"ice-server"')
        username = given["username"].strip('"')
        expected = hmac.new(TOKEN.encode(), username.encode(), "sha1").digest()
        assert base64.b64decode(given["credential"].strip('"')) == expected
        assert 3600 < int(username) - time.time() < 24 * 3600
        assert 'rel="ice-server"' in (await whep.play()).headers["link"]
        page = (await ask("GET", f"{server.url}/api/ice")).json["iceServers"]
        assert [one["urls"] for one in page] == [relay.url]
    async with serving(app_with()) as server:
        assert "link" not in (await ask("OPTIONS", f"{server.url}/whep/main")).headers
        assert (await ask("GET", f"{server.url}/api/ice")).json == {"iceServers": []}


@pytest.mark.parametrize(
    ("url", "secret", "expected"),
    [
        ("stun:relay.example", TOKEN, "expected TROCAR_TURN_URL to be as turn:"),
        ('turn:relay"; x', TOKEN, "expected TROCAR_TURN_URL to be as turn:"),
        ("turn:relay.example", "short", "at least 16 characters, got 5"),
    ],
)
def test_a_relay_is_checked_before_anybody_is_told(
    monkeypatch: pytest.MonkeyPatch, url: str, secret: str, expected: str
) -> None:
    monkeypatch.setenv("TROCAR_TURN_URL", url)
    monkeypatch.setenv("TROCAR_TURN_SECRET", secret)
    with pytest.raises(UsageError, match=expected):
        Settings.from_environment()


async def test_whep_places_are_limited() -> None:
    async with (
        serving(app_with(viewers=1)) as server,
        player(f"{server.url}/whep/main") as first,
        player(first.url) as second,
    ):
        assert (await first.play()).code == 201
        refused = await second.play()
        assert refused.code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "place is taken" in refused.sentence


async def test_whep_with_a_token() -> None:
    async with serving(app_with(token=TOKEN)) as server:
        url = f"{server.url}/whep/main"
        async with player(url) as stranger, player(url, Authorization=f"Bearer {TOKEN}") as known:
            refused = await stranger.play()
            assert refused.code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert (await known.play()).code == 201
            await known.picture()

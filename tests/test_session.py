"""The live path over real sockets and real WebRTC, with a model that can be made to fail."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import os
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import (
    AudioStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from fastapi import FastAPI

from service.app import create_app
from service.errors import UsageError
from service.model_process import ModelFailedError, ModelProcess, ModelTimes
from service.phantom_source import PhantomScenes, PhantomUrl
from service.settings import Settings
from streaming.mark import read_mark
from streaming.peers import Peers
from streaming.rendition import Rendition, Shot
from tests.asking import ask
from tests.clips import picture, write_clip
from tests.fakes import FakeTracker, open_named_after_the_wait_policy
from tests.live import Server, Viewer, post_json, serving
from tests.publisher import NumberedTrack

URL = "phantom://?seed=3&size=320x240&fps=20&mark=1"
TIMES = ModelTimes(start_s=60, first_step_s=5, step_s=0.6)


def app_with(source: str = URL, **script: object) -> FastAPI:
    opener = functools.partial(FakeTracker, **script)  # type: ignore[arg-type]
    return create_app(Settings(source=source), open_segmenter=opener, times=TIMES)


async def frames(viewer: Viewer, count: int, seconds: float = 20) -> None:
    """Wait until the viewer has so many frames."""
    end = asyncio.get_running_loop().time() + seconds
    while len(viewer.frames) < count:
        assert asyncio.get_running_loop().time() < end, f"{len(viewer.frames)} of {count} frames"
        await asyncio.sleep(0.05)


def tinted(shown: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Where the green of the fake's class was added. (H, W) bool"""
    gain = shown[..., 1].astype(int) - plain[..., 1] - (shown[..., 0].astype(int) - plain[..., 0])
    return gain > 25


async def test_masks_are_drawn_on_the_frames_they_belong_to() -> None:
    scenes = PhantomScenes(PhantomUrl.parse(URL))
    async with serving(app_with()) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    stamps = [pts for pts, _ in viewer.frames]
    assert stamps == sorted(set(stamps)), "time only goes forward"
    overlaps, numbers = [], []
    for _, shown in viewer.frames[20:]:
        number = read_mark(shown)
        assert number is not None
        numbers.append(number)
        plain = scenes.image(number)
        truth = plain.mean(axis=2) > 150
        found = tinted(shown, plain)
        truth[-40:, :200] = found[-40:, :200] = False  # under the mark
        if truth.mean() > 0.02:
            overlaps.append((found & truth).sum() / (found | truth).sum())
    assert numbers == sorted(set(numbers)), "no frame is shown twice or late"
    assert overlaps, "the scene must have bright places"
    assert np.mean(overlaps) > 0.6
    assert status["badge"] == "DEMO"
    assert status["viewers"] == 1
    assert status["frames_shown_plain"] == 0


async def shows_plain_then_recovers(server: Server, viewer: Viewer, badge: str) -> None:
    """The badge comes, the picture goes on meanwhile, the overlay comes back by itself."""
    await server.until(badge)
    before = len(viewer.frames)
    await frames(viewer, before + 3)
    status = await server.until("DEMO", seconds=30)
    assert status["frames_shown_plain"] > 0
    after = len(viewer.frames)
    await frames(viewer, after + 10)


async def test_model_killed() -> None:
    async with serving(app_with()) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        pid = server.session._model.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await shows_plain_then_recovers(server, viewer, "AI OFF")
        assert (await server.status())["model_starts"] == 2


async def test_model_hangs() -> None:
    async with serving(app_with(hang_at=(25,))) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI LATE")
        assert (await server.status())["model_starts"] >= 2


async def test_model_dies_by_itself() -> None:
    async with serving(app_with(die_at=(25,))) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI OFF")


async def test_model_raises_and_goes_on() -> None:
    async with serving(app_with(raise_at=(25, 30, 31, 35))) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    assert status["model_failures"] == 4
    assert status["model_starts"] == 1, "one bad frame, or two, are no reason"
    assert status["badge"] == "DEMO"


async def test_a_model_that_does_nothing_but_raise_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after a CUDA error, which stays until its process ends."""
    forever = tuple(range(25, 10_000))
    async with serving(app_with(raise_at=forever)) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        await shows_plain_then_recovers(server, viewer, "AI OFF")
        status = await server.status()
    assert status["model_starts"] >= 2
    assert status["model_failures"] >= 3
    said = [one.getMessage() for one in caplog.records if "model failed" in one.getMessage()]
    assert said[:2] == [
        "model failed: step failed: RuntimeError",
        "model failed: 3 steps in a row failed: RuntimeError",
    ]
    assert len(said) <= 2 * status["model_starts"]


async def test_a_model_that_never_works_is_started_ever_less_often(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.session.RESTART_S", (0.2, 60.0))
    forever = tuple(range(1, 10_000))
    async with serving(app_with(raise_at=forever)) as server, server.viewer() as viewer:
        await frames(viewer, 100)
        status = await server.status()
    assert status["badge"] == "AI OFF"
    assert 2 <= status["model_starts"] <= 7
    assert status["model_failures"] <= 3 * status["model_starts"]
    assert caplog.text.count("model failed") <= status["model_starts"] + 1, "not once a frame"


async def test_a_learner_that_fails_costs_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    raising = (25, 26, 27, 28)
    async with serving(app_with(learner_raises_at=raising)) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    assert status["learner_failures"] == len(raising)
    assert caplog.text.count("learner failed") == 1, "said once, not per frame"
    assert status["model_failures"] == 0
    assert status["frames_shown_plain"] == 0
    assert status["badge"] == "DEMO"


async def test_slow_model_is_never_shown_on_newer_frames() -> None:
    """Slower than the video: fewer pictures, each with its own mask, and drops are counted."""
    scenes = PhantomScenes(PhantomUrl.parse(URL))
    async with serving(app_with(step_s=0.12)) as server, server.viewer() as viewer:
        await frames(viewer, 30, seconds=30)
        status = await server.status()
    assert status["badge"] == "DEMO, MODEL RATE"
    assert status["fps_in"] > 1.5 * status["fps_out"], "what came, not what was taken"
    assert status["frames_dropped"]["newer_frame_came"] > 0
    assert status["capture_to_send_ms"]["p95"] < 600, "latency does not grow"
    checked = 0
    for _, shown in viewer.frames[15:]:
        number = read_mark(shown)
        assert number is not None
        plain = scenes.image(number)
        truth = plain.mean(axis=2) > 150
        found = tinted(shown, plain)
        truth[-40:, :200] = found[-40:, :200] = False
        truth[:40, :] = found[:40, :] = False  # under a badge
        if found.mean() > 0.02:
            assert (found & truth).sum() / (found | truth).sum() > 0.4
            checked += 1
    assert checked > 5


async def test_learner_controls() -> None:
    async with serving(app_with()) as server:
        for action, frozen in (("freeze", True), ("unfreeze", False)):
            await asyncio.to_thread(post_json, f"{server.main}/learner/{action}", {})
            assert (await server.status())["learner_frozen"] is frozen
        for action in ("rollback", "reset"):
            await asyncio.to_thread(post_json, f"{server.main}/learner/{action}", {})


async def test_a_learner_frozen_while_the_model_restarts_stays_frozen() -> None:
    async with serving(app_with(open_s=1.5)) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        pid = server.session.model_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await server.until("AI OFF")
        await asyncio.to_thread(post_json, f"{server.main}/learner/freeze", {})
        before = (await server.until("DEMO", seconds=30))["updates"]
        await frames(viewer, len(viewer.frames) + 20)
        status = await server.status()
    assert status["learner_frozen"]
    assert status["updates"].get("frozen", 0) > 0, "shown as frozen, it does not learn"
    assert status["updates"]["refused"] == before["refused"]


async def test_a_freeze_that_fails_is_not_shown_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(*_: object) -> None:
        raise ModelFailedError("model process is not running")

    async with serving(app_with()) as server:
        monkeypatch.setattr(ModelProcess, "freeze", gone)
        assert (await ask("POST", f"{server.main}/learner/freeze")).code == 503
        assert not (await server.status())["learner_frozen"]


async def test_file_source_and_its_badge(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "private name.mp4", frames=20, size=(240, 320))
    async with serving(app_with(str(clip))) as server, server.viewer() as viewer:
        await frames(viewer, 30)
        status = await server.status()
    assert status["badge"] == "RECORDING", "a file is not live"
    assert not status["demo"]


async def test_vanished_viewer_is_forgotten() -> None:
    async with serving(app_with()) as server:
        async with server.viewer() as viewer:
            await frames(viewer, 5)
            assert (await server.status())["viewers"] == 1
        end = asyncio.get_running_loop().time() + 10
        while (await server.status())["viewers"]:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.1)


async def test_an_offer_that_never_connects_gives_its_place_back() -> None:
    rendition = Rendition("overlay", lambda _: None)
    peers = Peers({"overlay": rendition}, limit=1, connect_s=0.3)
    viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    viewer.addTransceiver("video", direction="recvonly")
    await viewer.setLocalDescription(await viewer.createOffer())
    sdp = viewer.localDescription.sdp
    await viewer.close()
    lines = sdp.splitlines(keepends=True)
    await peers.answer("".join(x for x in lines if not x.startswith("a=candidate")))
    assert peers.full
    end = asyncio.get_running_loop().time() + 10
    while peers.full:
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)
    await peers.close()
    await rendition.close()


async def test_a_camera_and_a_microphone_that_a_viewer_offers_are_not_decoded() -> None:
    """As a page does that watches with plain addTrack."""
    rendition = Rendition("overlay", lambda _: None)
    peers = Peers({"overlay": rendition}, limit=1)
    viewer, camera = RTCPeerConnection(RTCConfiguration(iceServers=[])), NumberedTrack()
    viewer.addTrack(camera)
    viewer.addTrack(AudioStreamTrack())
    try:
        await viewer.setLocalDescription(await viewer.createOffer())
        answer = (await peers.answer(viewer.localDescription.sdp)).sdp
        assert re.findall("^a=(sendrecv|sendonly|recvonly|inactive)", answer, re.MULTILINE) == [
            "sendonly",
            "inactive",
        ]
        await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        (connection,) = peers._connections.values()
        received: list[Any] = [one.receiver.track for one in connection.getTransceivers()]
        watched: asyncio.Task[object] = asyncio.create_task(
            viewer.getTransceivers()[0].receiver.track.recv()
        )
        end = asyncio.get_running_loop().time() + 20
        number = 0
        while number < 20 or not watched.done():
            assert asyncio.get_running_loop().time() < end
            camera.show()
            rendition.show(Shot(lambda: picture(0, (64, 96)), 40_000_000 * number, number))
            number += 1
            await asyncio.sleep(0.04)
        await watched
        assert [track._queue.qsize() for track in received] == [0, 0]
    finally:
        await viewer.close()
        await peers.close()
        await rendition.close()


async def test_a_picture_that_does_not_go_out_is_not_called_live(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("scripted")

    async with serving(app_with()) as server, server.viewer() as viewer:
        await frames(viewer, 10)
        with monkeypatch.context() as patch:
            patch.setattr("service.composer.draw_overlay", fail)
            status = await server.until("PICTURE STALE")
        await server.until("DEMO")
        await frames(viewer, len(viewer.frames) + 5)
    assert status["frames_dropped"]["could_not_be_shown"] > 0
    assert caplog.text.count("could not be shown") == 1, "said once, not per frame"


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


async def test_the_models_threads_do_not_spin_on_cores_that_others_need() -> None:
    model = ModelProcess(open_named_after_the_wait_policy, TIMES)
    before = dict(os.environ)
    await model.start()
    try:
        assert model.classes[0].name == before.get("OMP_WAIT_POLICY", "PASSIVE")
        assert dict(os.environ) == before
    finally:
        await model.close()


async def test_viewers_are_limited() -> None:
    opener = functools.partial(FakeTracker)
    app = create_app(Settings(source=URL, viewers=1), open_segmenter=opener, times=TIMES)
    async with serving(app) as server, server.viewer() as viewer:
        await frames(viewer, 3)
        code, message = await asyncio.to_thread(
            refusal, f"{server.main}/offer", b'{"sdp": "v=0", "type": "offer"}'
        )
        assert code == 503
        assert "place is taken" in message


def refusal(url: str, body: bytes, kind: str = "application/json") -> tuple[int, str]:
    """Status and body of a request that is refused."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    raise AssertionError("the request was accepted")


TOKEN = "0123456789abcdef"


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


async def test_metrics_count_what_happened_and_name_nobody() -> None:
    async with serving(app_with(raise_at=(10,))) as server, server.viewer() as viewer:
        await frames(viewer, 30)
        text = await asyncio.to_thread(
            lambda: urllib.request.urlopen(f"{server.url}/metrics").read().decode()
        )
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(lines['trocar_model_failures_total{session="main"}']) == 1
    assert float(lines['trocar_frames_sent_total{session="main"}']) >= 30
    assert float(lines['trocar_viewers{session="main"}']) == 1
    assert float(lines['trocar_learner_updates_total{result="refused",session="main"}']) >= 20
    assert float(lines['trocar_stage_seconds_count{session="main",stage="model"}']) >= 20
    assert "phantom" not in text

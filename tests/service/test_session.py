"""The live path over real sockets and real WebRTC."""

from __future__ import annotations

import asyncio
import functools
import os
import re
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

from service.http.app import create_app
from service.live.phantom_source import PhantomScenes, PhantomUrl
from service.model.process import ModelProcess
from service.settings import Settings
from streaming.mark import read_mark
from streaming.peers import OfferError, Peers
from streaming.rendition import Picture, Rendition
from tests.support.clips import picture, write_clip
from tests.support.fakes import FakeTracker, open_named_after_the_wait_policy
from tests.support.live_service import post_json, serving
from tests.support.publisher import NumberedTrack
from tests.support.scripted_service import TIMES, URL, app_with, frames


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


async def test_instruments_of_unknown_kind_are_burnt_in_grey() -> None:
    scenes = PhantomScenes(PhantomUrl.parse(URL))
    async with serving(app_with(unnamed=True)) as server, server.viewer() as viewer:
        await frames(viewer, 60)
        status = await server.status()
    assert status["unnamed"]["name"] == "kind unknown"
    assert 0 < status["unnamed"]["area"] < 1
    assert not any(one["present"] for one in status["classes"])
    before, after = [], []
    for _, shown in viewer.frames[20:]:
        number = read_mark(shown)
        assert number is not None
        plain = scenes.image(number)
        bright = plain.mean(axis=2) > 170
        bright[-40:, :200] = False  # under the mark
        if bright.mean() > 0.005:
            before.append(np.ptp(plain[bright], axis=1).mean())
            after.append(np.ptp(shown[bright], axis=1).mean())
    assert before, "the scene must have bright places"
    assert np.mean(after) < 0.8 * np.mean(before), "nearer to grey"


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
    lines = (await an_offer()).splitlines(keepends=True)
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
            rendition.show(Picture(lambda: picture(0, (64, 96)), 40_000_000 * number, number))
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
            patch.setattr("service.live.composer.draw_overlay", fail)
            status = await server.until("PICTURE STALE")
        await server.until("DEMO")
        await frames(viewer, len(viewer.frames) + 5)
    assert status["frames_dropped"]["could_not_be_shown"] > 0
    assert caplog.text.count("could not be shown") == 1, "said once, not per frame"


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


async def test_a_viewer_changes_views_without_a_second_place() -> None:
    rendition = Rendition("overlay", lambda shot: None)
    peers = Peers({"overlay": rendition, "plain": rendition}, 2)
    offer = await an_offer()
    first, _ = [await peers.answer(offer) for _ in range(2)]
    assert peers.full
    assert not peers.has_room("of nobody")
    second = await peers.answer(offer, "plain", first.id)
    for taken in (first.id, None):  # once, and by nobody else
        with pytest.raises(OfferError, match="every place is taken"):
            await peers.answer(offer, "plain", taken)
    await peers.hang_up(second.id)  # the new view did not come: the next try is as good
    third = await peers.answer(offer, "plain", first.id)
    await peers.hang_up(first.id)
    assert peers.full
    assert len(peers) == 2
    assert peers.has_room(third.id)
    await peers.close()
    await rendition.close()


async def an_offer() -> str:
    """To receive video, by nobody who is still there."""
    viewer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    viewer.addTransceiver("video", direction="recvonly")
    await viewer.setLocalDescription(await viewer.createOffer())
    sdp = str(viewer.localDescription.sdp)
    await viewer.close()
    return sdp


def refusal(url: str, body: bytes, kind: str = "application/json") -> tuple[int, str]:
    """Status and body of a request that is refused."""
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    raise AssertionError("the request was accepted")


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

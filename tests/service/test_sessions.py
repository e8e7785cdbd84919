"""Several sessions at once, over real sockets."""

from __future__ import annotations

import asyncio
import functools

import numpy as np
import pytest
from fastapi import FastAPI

from models.tracking.tracker import Tracker
from service.errors import BusyError
from service.http.app import create_app
from service.live.admission import Pace, why_refused
from service.live.learner_history import SAMPLES, LearnerHistory
from service.live.sessions import Sessions
from service.model.process import ModelTimes
from service.model.warm_tracker import WarmTracker
from service.settings import Settings
from tests.support.asking import ask
from tests.support.fakes import FakeTracker
from tests.support.live_service import serving
from tests.support.scripted_service import TIMES, URL, frames

OTHER = "phantom://?seed=5&size=160x120&fps=10"


def app_with(script: dict[str, object] | None = None, **settings: object) -> FastAPI:
    opener = functools.partial(FakeTracker, **(script or {}))  # type: ignore[arg-type]
    asked = Settings(**{"source": URL, "capacity": 64.0, **settings})  # type: ignore[arg-type]
    return create_app(asked, open_segmenter=opener, times=TIMES)


@pytest.mark.parametrize(("engine", "least_s"), [("auto", 60), ("cuda_graph", 600)])
async def test_an_engine_that_compiles_has_minutes_for_its_first_start(
    monkeypatch: pytest.MonkeyPatch, engine: str, least_s: float
) -> None:
    given: list[ModelTimes] = []

    def stillborn(_: object, times: ModelTimes) -> None:
        given.append(times)
        raise BusyError("enough is known")

    monkeypatch.setattr("service.live.sessions.ModelProcess", stillborn)
    with pytest.raises(BusyError):
        await Sessions(Settings(source=URL, engine=engine)).open_main()
    assert least_s <= given[0].start_s < 10 * least_s


async def test_a_session_is_opened_listed_watched_and_closed() -> None:
    async with serving(app_with()) as server:
        api = f"{server.url}/api/sessions"
        opened = await ask("POST", api, {"source": OTHER, "name": "second scope"})
        assert opened.code == 201
        assert opened.json["name"] == "second scope"
        assert opened.json["source_fps"] == 10
        address = server.url + opened.headers["location"]
        assert address == f"{api}/{opened.json['id']}"
        listed = (await ask("GET", api)).json["sessions"]
        assert [one["id"] for one in listed] == ["main", opened.json["id"]]
        async with server.viewer(session=opened.json["id"]) as viewer:
            await frames(viewer, 5)
            assert viewer.frames[0][1].shape == (120, 160, 3)
            assert (await ask("GET", address)).json["viewers"] == 1
            assert (await server.status())["viewers"] == 0
        assert (await ask("POST", f"{address}/learner/freeze")).json == {"done": "freeze"}
        assert (await ask("GET", address)).json["learner_frozen"]
        assert not (await server.status())["learner_frozen"], "each has a learner of its own"
        assert (await ask("DELETE", address)).code == 204
        gone = await ask("GET", address)
        assert gone.code == 404
        assert "expected the id of a session" in gone.sentence
        assert (await server.status())["badge"] == "DEMO"


async def test_a_closed_session_leaves_no_process_and_no_place_taken() -> None:
    async with serving(app_with(sessions=1)) as server:
        process = server.session._model.process._process
        assert (await ask("DELETE", server.main)).code == 204
        assert not process.is_alive()
        assert (await ask("GET", f"{server.url}/api/sessions")).json == {"sessions": []}
        again = await ask("POST", f"{server.url}/api/sessions", {"source": OTHER})
        assert again.code == 201


async def test_sessions_are_limited() -> None:
    async with serving(app_with(sessions=1)) as server:
        refused = await ask("POST", f"{server.url}/api/sessions", {"source": OTHER})
        assert refused.code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "places for sessions is taken" in refused.sentence


@pytest.mark.parametrize(
    ("body", "code", "expected"),
    [
        ({"source": "phantom://?color=3"}, 400, "seed, size, fps and mark, got color"),
        ({"source": OTHER, "profile": "none"}, 400, "expected a profile of instrument, phantom"),
        ({"source": ""}, 422, "body.source"),
        ({"source": OTHER, "name": "n" * 81}, 422, "body.name"),
        ({"source": OTHER, "colour": "red"}, 422, "body.colour"),
        ({}, 422, "body.source"),
    ],
)
async def test_what_cannot_be_opened_is_one_sentence(
    body: dict[str, object], code: int, expected: str
) -> None:
    async with serving(app_with()) as server:
        refused = await ask("POST", f"{server.url}/api/sessions", body)
        assert refused.code == code
        assert expected in refused.sentence
        assert len((await ask("GET", f"{server.url}/api/sessions")).json["sessions"]) == 1


async def test_profiles_are_listed() -> None:
    async with serving(app_with()) as server:
        listed = await ask("GET", f"{server.url}/api/profiles")
        assert listed.json == {"profiles": ["instrument", "phantom"]}


async def test_the_description_tells_of_every_route_and_asks_no_other_host() -> None:
    async with serving(app_with()) as server:
        embedding = (await ask("GET", f"{server.url}/openapi.json")).json
        assert {"/api/sessions", "/api/sessions/{session_id}/offer"} <= set(embedding["paths"])
        opening = embedding["paths"]["/api/sessions"]["post"]["responses"]
        assert {"201", "400", "403", "422", "503"} <= set(opening)
        for page in ("/docs", "/redoc"):
            assert (await ask("GET", server.url + page)).code == 404


async def test_the_learners_history_is_sampled() -> None:
    async with serving(app_with()) as server:
        end = asyncio.get_running_loop().time() + 20
        while len(history := (await server.status())["learner_history"]) < 3:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.2)
    first, last = history[0], history[-1]
    assert last["confidence"] == {"1": 0.9, "2": 0.1}
    assert last["t_s"] - first["t_s"] > 1
    assert last["refused"] > first["refused"]
    assert last["accepted"] == last["rolled_back"] == 0


def test_the_learners_history_is_bounded() -> None:
    history = LearnerHistory()
    for count in range(3 * SAMPLES):
        history.add({"accepted": count}, {})
    kept = history.samples()
    assert len(kept) == SAMPLES
    assert kept[-1].accepted == 3 * SAMPLES - 1


def test_the_load_rule() -> None:
    busy = Pace(0.03, 20)  # 0.6 seconds of model a second
    assert why_refused([], 60, 0.9) is None, "nothing is known yet, and nobody is hindered"
    assert why_refused([busy], 10, 0.9) is None
    assert why_refused([busy], 10.1, 0.9) is not None
    assert why_refused([busy, Pace(0.01, 25)], 5, 0.9) is not None
    assert why_refused([busy, Pace(0.0, 5)], 6, 0.9) is not None, "unmeasured is not free"
    assert why_refused([Pace(0.1, 25)], 1, 0.9) is not None, "slower than its own source"
    assert why_refused([Pace(0.03, 0)], 25, 0.9) is None, "a recording that has ended"
    assert "0.45" in (why_refused([busy], 15, 0.9) or "")


async def test_a_session_that_could_not_keep_its_frame_rate_is_refused() -> None:
    """Usual step at least 50 ms at 10 frames a second, of a capacity of two."""
    app = app_with({"step_s": 0.05}, source=f"{OTHER}&seed=3", capacity=2.0)
    async with serving(app) as server:
        api = f"{server.url}/api/sessions"
        await server.until("DEMO")  # a step was measured
        fast = await ask("POST", api, {"source": "phantom://?size=64x64&fps=60"})
        assert fast.code == 503
        assert int(fast.headers["retry-after"]) > 0
        assert "60 frames a second" in fast.sentence
        slow = await ask("POST", api, {"source": "phantom://?size=64x64&fps=1"})
        assert slow.code == 201
        assert (await server.status())["badge"] == "DEMO"


async def test_ready_means_warm_and_a_place_free() -> None:
    async with serving(app_with(viewers=1, sessions=1)) as server:
        ready = f"{server.url}/readyz"
        assert (await ask("GET", ready)).code == 200
        async with server.viewer() as viewer:
            await frames(viewer, 3)
            refused = await ask("GET", ready)
            assert (refused.code, refused.json["detail"]) == (503, "every place is taken")
            assert int(refused.headers["retry-after"]) > 0
        server.session._model.up = False
        assert (await ask("GET", ready)).json["detail"] == "the model is not answering"
        assert (await ask("GET", f"{server.url}/healthz")).code == 200


def test_the_warm_tracker_has_forgotten_its_warm_up(one_thread: None) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    warm = WarmTracker("phantom", engine="torch")().segment(image)
    fresh = Tracker.open("phantom", engine="torch").segment(image)
    assert np.array_equal(warm.class_map, fresh.class_map)
    assert warm.results == fresh.results

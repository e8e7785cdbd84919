"""Puts a session behind HTTP: the application, and `serve` which runs it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from models.phantom import DEMO_SEED
from models.tracker import Tracker
from service.errors import ServiceError
from service.guard import Guard
from service.model_process import ModelProcess, ModelTimes, OpenSegmenter
from service.phantom_source import PhantomScenes, PhantomUrl
from service.routes import router
from service.session import Badge, Session, SessionPlan
from service.settings import LOOPBACK, Settings
from streaming.network_stream import OPTIONS as STREAMS
from streaming.sources import Source, open_source

STATIC = Path(__file__).parent / "static"


def plan_session(settings: Settings) -> tuple[SessionPlan, str]:
    """What the settings ask for, and the name of the profile. Raises SourceError."""
    if settings.source.startswith("phantom:"):
        url = PhantomUrl.parse(settings.source)
        own = "phantom" if url.seed == DEMO_SEED else "instrument"
        profile = settings.profile or own
        scenes = PhantomScenes(url)
        plan = SessionPlan(
            scenes.source, "phantom", Path(profile).stem, Badge.DEMO, url.mark,
            record=settings.record,
        )  # fmt: skip
        return plan, profile
    profile = settings.profile or "instrument"

    def open_it() -> Source:
        return open_source(settings.source, loop=settings.loop)

    parts = urlsplit(settings.source)
    shown = Path(parts.path).name or "source"  # never the whole address: it may hold a password
    live = parts.scheme in STREAMS
    badge = Badge.LIVE if live else Badge.RECORDING
    plan = SessionPlan(open_it, shown, Path(profile).stem, badge, False, record=settings.record)
    return plan, profile


def create_app(
    settings: Settings,
    *,
    open_segmenter: OpenSegmenter | None = None,
    times: ModelTimes | None = None,
) -> FastAPI:
    """The application with one session, opened when the server starts.

    open_segmenter: another model than the embedded tracker, for tests; must be picklable
    """
    plan, profile = plan_session(settings)
    opener: OpenSegmenter = open_segmenter or functools.partial(
        Tracker.open,
        profile,
        online=settings.online,
        gamma=settings.gamma,
        engine=settings.engine,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        session = Session(plan, ModelProcess(opener, times), settings)
        app.state.session = session
        try:
            try:
                await session.start()
            except Exception as error:
                app.state.start_error = error  # uvicorn would only print it; `serve` raises it
                raise
            yield
        finally:
            await session.close()

    app = FastAPI(title="Trocar", lifespan=lifespan, docs_url=None, redoc_url=None)
    remote = settings.host not in LOOPBACK
    app.add_middleware(Guard, any_host=remote, token=settings.token)
    app.add_exception_handler(RequestValidationError, _say_what_was_expected)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def _say_what_was_expected(_: Request, error: Exception) -> JSONResponse:
    """One sentence; the library's own answer quotes the whole input back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"detail": f"{place}: {first['msg']}"}, 422)


class _Server(uvicorn.Server):
    """Says where to look once it can be looked at."""

    def __init__(self, config: uvicorn.Config, lines: tuple[str, ...]) -> None:
        super().__init__(config)
        self._lines = lines

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            for line in self._lines:
                print(line.format(port=port), flush=True)


def serve(settings: Settings) -> None:
    """Serve until interrupted. Raises SourceError, ProfileError, ServiceError before it starts."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("aiortc").setLevel(logging.ERROR)
    plan, _ = plan_session(settings)
    plan.open_source().close()  # a bad source is an error of the command, not of the server
    app = create_app(settings)
    shown = {Badge.DEMO: "demo data", Badge.LIVE: "live"}.get(plan.badge, "a recording")
    lines = (
        f"Trocar shows {plan.shown_source} ({shown}) with profile {plan.shown_profile}.",
        f"Open http://{settings.host}:{{port}}",
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config, lines)
    # A start that fails is raised below, as one line; uvicorn would print its traceback first.
    logging.getLogger("uvicorn.error").addFilter(lambda _: server.started)
    asyncio.run(_serve_checked(server))
    start_error: Exception | None = getattr(app.state, "start_error", None)
    if start_error is not None:
        raise start_error
    if not server.started:
        raise ServiceError(f"cannot serve on {settings.host}:{settings.port}, is it in use?")


async def _serve_checked(server: uvicorn.Server) -> None:
    with contextlib.suppress(SystemExit):  # uvicorn's way to say that the port is taken
        await server.serve()

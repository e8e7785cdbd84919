"""Puts the sessions behind HTTP: the application, and `serve` which runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from service.errors import ServiceError
from service.guard import Guard
from service.model_process import ModelTimes, OpenSegmenter
from service.plans import own_profile, plan_session
from service.refusals import say_refusals
from service.routes import router
from service.routes.pages import STATIC
from service.session import Badge
from service.sessions import Sessions
from service.settings import LOOPBACK, Settings


def create_app(
    settings: Settings,
    *,
    open_segmenter: OpenSegmenter | None = None,
    times: ModelTimes | None = None,
) -> FastAPI:
    """The application; the session that the settings describe is opened when the server starts.

    open_segmenter: another model than the embedded tracker, for tests; must be picklable
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sessions = Sessions(settings, open_segmenter=open_segmenter, times=times)
        app.state.sessions = sessions
        try:
            try:
                await sessions.open_main()
            except Exception as error:
                app.state.start_error = error  # uvicorn would only print it; `serve` raises it
                raise
            yield
        finally:
            await sessions.close()

    app = FastAPI(
        title="Trocar",
        version=version("trocar"),
        summary="Surgical instruments in live video. Research use only, not a medical device.",
        lifespan=lifespan,
        docs_url=None,  # the documentation pages would load scripts from another host
        redoc_url=None,
    )
    remote = settings.host not in LOOPBACK
    app.add_middleware(Guard, any_host=remote, token=settings.token)
    say_refusals(app)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


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
    profile = settings.profile or own_profile(settings.source)
    plan = plan_session(settings.source, profile, loop=settings.loop)
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

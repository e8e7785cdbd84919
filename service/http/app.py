"""Puts the sessions behind HTTP: the application, which `service/http/server.py` runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles

from service.http.auth import Auth
from service.http.error_handlers import add_error_handlers
from service.http.routes import router
from service.http.routes.pages import NEVER_STALE, STATIC
from service.live.sessions import Sessions
from service.model.process import ModelTimes
from service.model.worker import OpenSegmenter
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
    app.add_middleware(Auth, any_host=remote, token=settings.token)
    add_error_handlers(app)
    app.include_router(router)
    app.mount("/static", _Static(directory=STATIC), name="static")
    return app


class _Static(StaticFiles):
    """Files that a browser asks for anew: after an upgrade none may be of the version before."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """See StaticFiles."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(NEVER_STALE)
        return response

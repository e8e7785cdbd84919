"""`trocar serve`: runs the application until it is told to stop, and stops within five seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from importlib.util import find_spec

import uvicorn
from fastapi import FastAPI

from service.errors import ServiceError
from service.http.app import create_app
from service.live.badge import Badge
from service.live.session_config import configure_session, own_profile
from service.log import configure
from service.settings import Settings

log = logging.getLogger(__name__)

DRAIN_S = 1  # for requests under way; then sessions are closed, and have CLOSE_S
STOP_S = 4.8  # and then it ends, whatever a driver or a decoder is doing
TERMINATED = 143
MOST_CONNECTIONS = 512  # of HTTP; past them the answer is 503
NO_OPENVINO = (
    "OpenVINO is not installed: the network runs on torch, and a frame takes about twice as long; "
    "pip install 'trocar[openvino]'"
)  # measured: stages_instances.json and stages_instances_avx2.json in benchmarks/results


class _Server(uvicorn.Server):
    """Says where to look once it can be looked at; ends in time once it is told to."""

    def __init__(self, config: uvicorn.Config, lines: tuple[str, ...]) -> None:
        super().__init__(config)
        self._lines = lines

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            log.info("serving on port %d", port)
            for line in self._lines:
                print(line.format(port=port), flush=True)

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        # A native call that does not return would hold the interpreter's own end up.
        end = threading.Timer(STOP_S, os._exit, (TERMINATED,))
        end.daemon = True
        end.start()
        log.info("stopping")
        await super().shutdown(sockets)  # type: ignore[arg-type]
        log.info("stopped")


def serve(settings: Settings) -> None:
    """Serve until interrupted. Raises SourceError, ProfileError, ServiceError before it starts."""
    configure(settings.log)
    lines = _first_lines(settings)
    if settings.engine == "auto" and find_spec("openvino") is None:
        log.warning(NO_OPENVINO)
    app = create_app(settings)
    server = _Server(_config(app, settings), lines)
    # A start that fails is raised below, as one line; uvicorn would print its traceback first.
    logging.getLogger("uvicorn.error").addFilter(lambda _: server.started)
    asyncio.run(_serve_checked(server))
    start_error: Exception | None = getattr(app.state, "start_error", None)
    if start_error is not None:
        raise start_error
    if not server.started:
        raise ServiceError(f"cannot serve on {settings.host}:{settings.port}, is it in use?")


def _first_lines(settings: Settings) -> tuple[str, ...]:
    """What to say on stdout; without the source's name where logs are collected."""
    profile = settings.profile or own_profile(settings.source)
    plan = configure_session(
        settings.source, profile, loop=settings.loop, deinterlace=settings.deinterlace
    )
    plan.open_source().close()  # a bad source is an error of the command, not of the server
    shown = {Badge.DEMO: "demo data", Badge.LIVE: "live"}.get(plan.badge, "a recording")
    address = f"Open http://{settings.host}:{{port}}"
    if settings.log == "json":
        return (address,)
    said = f"Trocar shows {plan.shown_source} ({shown}) with profile {plan.shown_profile}."
    return said, address


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="error",
        log_config=None,  # its records go where ours go
        access_log=False,
        timeout_graceful_shutdown=DRAIN_S,
        limit_concurrency=MOST_CONNECTIONS,
    )


async def _serve_checked(server: uvicorn.Server) -> None:
    with contextlib.suppress(SystemExit):  # uvicorn's way to say that the port is taken
        await server.serve()

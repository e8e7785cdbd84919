"""What a route is given: the sessions, or the one that its path names."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from service.http.schemas import Problem
from service.live.live_session import LiveSession
from service.live.sessions import Sessions
from service.log import SESSION


async def _registry(request: Request) -> Sessions:
    registry: Sessions = request.app.state.sessions
    return registry


Registry = Annotated[Sessions, Depends(_registry)]


async def _named(
    registry: Registry, session_id: Annotated[str, Path(max_length=64)]
) -> LiveSession:
    live = registry[session_id]
    SESSION.set(live.id)  # what this request makes the session log is the session's
    return live


Labeled = Annotated[LiveSession, Depends(_named)]


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """These refusals, for the OpenAPI description."""
    return {code: {"model": Problem} for code in codes}

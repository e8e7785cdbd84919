"""The pages that people look at."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.http.routes.registry import Registry

STATIC = Path(__file__).parents[2] / "static"
NEVER_STALE = {"Cache-Control": "no-cache"}
# No other page may show ours inside its own, and so have it clicked on unawares.
PAGE = NEVER_STALE | {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def control() -> FileResponse:
    """The control page."""
    return FileResponse(STATIC / "index.html", headers=PAGE)


@router.get("/display/{session_id}")
async def display(registry: Registry, session_id: str) -> FileResponse:
    """One session, for a screen in the operating room.

    Where there is none of that id the page says so and asks again: the screen stays on.
    """
    code = 200 if session_id in registry else 404
    return FileResponse(STATIC / "display.html", code, headers=PAGE)

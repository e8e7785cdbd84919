"""The pages that people look at."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from service.routes.registry import Named

STATIC = Path(__file__).parent.parent / "static"
NEVER_STALE = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def control() -> FileResponse:
    """The control page."""
    return FileResponse(STATIC / "index.html", headers=NEVER_STALE)


@router.get("/display/{session_id}")
async def display(named: Named) -> FileResponse:
    """One session, for a screen in the operating room."""
    return FileResponse(STATIC / "display.html", headers=NEVER_STALE)

"""HTTP: the page, health, status, the offer, the learner's controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from service.metrics import CONTENT_TYPE
from service.model_process import ModelFailedError
from service.session import Session
from streaming.peers import OfferError

LARGEST_OFFER = 64 * 1024
PAGE = Path(__file__).parent / "static" / "index.html"

router = APIRouter()


class Offer(BaseModel):
    """A browser's session description."""

    sdp: str = Field(max_length=LARGEST_OFFER)
    type: Literal["offer"]
    view: Literal["overlay", "plain"] = "overlay"


class Answer(BaseModel):
    """Ours."""

    sdp: str
    type: Literal["answer"] = "answer"


def _session(request: Request) -> Session:
    session: Session = request.app.state.session
    return session


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The display."""
    return FileResponse(PAGE, headers={"Cache-Control": "no-cache"})


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The loop is alive."""
    return {"status": "alive"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """The model answers and a viewer would be admitted; 503 with the reason otherwise."""
    session = _session(request)
    if not session.ready:
        raise HTTPException(503, "the model is not answering")
    if session.full:
        raise HTTPException(503, "every viewer's place is taken")
    return {"status": "ready"}


@router.get("/api/status")
async def status(request: Request) -> dict[str, Any]:
    """What is shown, how fast, and what the learner did."""
    return _session(request).status()


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(_session(request).metrics(), media_type=CONTENT_TYPE)


@router.post("/api/offer")
async def offer(request: Request, body: Offer) -> Answer:
    """Answer a WebRTC offer that wants to receive video."""
    session = _session(request)
    if session.full:
        raise HTTPException(503, "every viewer's place is taken", {"Retry-After": "5"})
    try:
        return Answer(sdp=(await session.peers.answer(body.sdp, body.view)).sdp)
    except OfferError as error:
        raise HTTPException(400, str(error)) from error


@router.post("/api/learner/{action}")
async def learner(
    request: Request, action: Literal["freeze", "unfreeze", "rollback", "reset"]
) -> dict[str, str]:
    """Control the online learner."""
    try:
        await _session(request).learner(action)
    except ModelFailedError as error:
        raise HTTPException(503, "the model is not answering") from error
    return {"done": action}

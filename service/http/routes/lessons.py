"""REST: what a person teaches of the picture on his screen, and takes back."""

from __future__ import annotations

from fastapi import APIRouter

from service.http.routes.registry import Labeled, problems
from service.http.schemas import NewLesson, SeenFrame, TakenBack, Taught

router = APIRouter(prefix="/api/sessions/{session_id}/lessons")


@router.post("", responses=problems(400, 404, 409, 422, 503))
async def teach(named: Labeled, body: NewLesson) -> Taught:
    """Teach what is clicked on in a frame that this viewer has seen; felt in the next frames."""
    clicks = [press.click() for press in body.clicks]
    area = await named.session.lessons.teach(body.viewer, body.frame, clicks, body.class_id)
    return Taught(area=round(area, 6))


@router.post("/frame", status_code=204, responses=problems(404, 409, 422))
async def hold(named: Labeled, body: SeenFrame) -> None:
    """Keep a frame beyond its two seconds: somebody has pressed on it and is choosing a name."""
    named.session.lessons.hold(body.viewer, body.frame)


@router.delete("/last", responses=problems(404, 409, 503))
async def take_back(named: Labeled) -> TakenBack:
    """Take the last lesson back."""
    await named.session.lessons.take_back()
    return TakenBack()

"""REST: sessions are listed, opened, inspected, watched, taught and closed."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from service.http.routes.registry import Labeled, Registry, problems
from service.http.schemas import (
    Action,
    Done,
    IceServer,
    IceServers,
    NewSession,
    Offer,
    OfferAnswer,
    ProfileList,
    RecordingAction,
    SessionList,
)
from service.live.live_session import LiveStatus
from service.live.profiles import known_profiles
from service.live.status import RecordingStatus

router = APIRouter(prefix="/api")


@router.get("/profiles")
async def profiles(registry: Registry) -> ProfileList:
    """Names that a session may be opened with."""
    known = await asyncio.to_thread(known_profiles, registry.settings)  # a folder may be slow
    return ProfileList(profiles=list(known))


@router.get("/ice")
async def ice(registry: Registry) -> IceServers:
    """The configuration for a page's RTCPeerConnection."""
    relay = registry.settings.relay
    if relay is None:
        return IceServers(iceServers=[])
    fresh = relay.credentials()
    server = IceServer(urls=fresh.url, username=fresh.username, credential=fresh.credential)
    return IceServers(iceServers=[server])


@router.get("/sessions", response_model=SessionList)
async def list_sessions(registry: Registry) -> Any:
    """The sessions that run."""
    return {"sessions": [live.status() for live in registry]}


@router.post(
    "/sessions",
    status_code=201,
    responses=problems(400, 403, 422, 503),
)
async def open_session(registry: Registry, body: NewSession, response: Response) -> LiveStatus:
    """Open a session; the answer comes when it runs, with its address in Location."""
    live = await registry.open(body.source, body.profile, body.name)
    response.headers["Location"] = f"/api/sessions/{live.id}"
    return live.status()


@router.get("/sessions/{session_id}", responses=problems(404))
async def status(named: Labeled) -> LiveStatus:
    """What is shown, how fast, and what the learner did."""
    return named.status()


@router.delete("/sessions/{session_id}", status_code=204, responses=problems(404))
async def close_session(registry: Registry, named: Labeled) -> None:
    """Close a session; its viewers are told."""
    await registry.remove(named.id)


@router.post("/sessions/{session_id}/offer", responses=problems(400, 404, 422, 503))
async def offer(named: Labeled, body: Offer, response: Response) -> OfferAnswer:
    """Answer a WebRTC offer that wants to receive video; Location is the connection's address."""
    answer = await named.watch(body.sdp, body.view, body.replaces)
    response.headers["Location"] = f"/whep/{named.id}/{answer.id}"
    return OfferAnswer(sdp=answer.sdp)


@router.post("/sessions/{session_id}/learner/{action}", responses=problems(404, 422, 503))
async def learner(named: Labeled, action: Action) -> Done:
    """Control the online learner."""
    await named.session.learner(action)
    return Done(done=action)


@router.post(
    "/sessions/{session_id}/recording/{action}",
    responses=problems(403, 404, 409, 422),
)
async def record(named: Labeled, action: RecordingAction) -> RecordingStatus:
    """Start or stop recording video and masks; only where the service has a folder for it."""
    if action == "start":
        named.session.record()
    else:
        await named.session.stop_recording()
    return named.session.status().recording

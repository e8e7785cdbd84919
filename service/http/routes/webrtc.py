"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): other software publishes to us and plays us.

One POST carries an offer and gets the answer, with every candidate in it; the connection then has
an address of its own, where DELETE ends it. Trickle ICE and ICE restarts are not offered, so PATCH
is a method that is not allowed, and there is no ETag.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from service.errors import UnknownSessionError
from service.http.routes.registry import Labeled, Registry, problems
from service.http.schemas import LARGEST_OFFER, View
from streaming.peers import SdpAnswer

SDP = "application/sdp"
TAKES_SDP = {"Accept-Post": SDP}
OFFERED = "OPTIONS, POST"
CONNECTED = "DELETE, OPTIONS"
NOT_OFFERED = ["GET", "HEAD", "PUT", "PATCH", "DELETE"]
NOT_CONNECTED = ["GET", "HEAD", "PUT", "PATCH", "POST"]
IN_AND_OUT: dict[str, Any] = {
    "status_code": 201,
    "response_class": Response,
    "responses": {
        201: {"content": {SDP: {}}, "description": "The answer; Location ends the connection."},
        **problems(400, 404, 409, 413, 415, 503),
    },
    "openapi_extra": {
        "requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}
    },
}

router = APIRouter()


async def _sdp(request: Request) -> str:
    """The offer in the body. Refuses another media type (415), length (413) or encoding (400)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SDP:
        raise HTTPException(415, f"expected a body of type {SDP}", TAKES_SDP)
    body = await request.body()
    if len(body) > LARGEST_OFFER:
        raise HTTPException(413, f"expected an offer of at most {LARGEST_OFFER // 1024} KiB")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise HTTPException(400, "expected an offer in UTF-8") from error


Sdp = Annotated[str, Depends(_sdp)]


def _created(request: Request, registry: Registry, answer: SdpAnswer) -> Response:
    headers = {"Location": f"{request.url.path}/{answer.id}", **_relay(registry)}
    return Response(answer.sdp, 201, headers, SDP)


def _relay(registry: Registry) -> dict[str, str]:
    """Where there is a relay, clients are told when they ask and when they are answered."""
    relay = registry.settings.relay
    return {} if relay is None else {"Link": relay.credentials().link()}


def _ended(there_was_one: bool) -> Response:
    if not there_was_one:
        raise UnknownSessionError("expected the address of a connection, this one is not there")
    return Response(status_code=200)


@router.post("/whep/{session_id}", **IN_AND_OUT)
async def play(
    request: Request, registry: Registry, named: Labeled, sdp: Sdp, view: View = "overlay"
) -> Response:
    """Play a session; `plain` is the picture without masks drawn on it."""
    return _created(request, registry, await named.watch(sdp, view))


@router.delete("/whep/{session_id}/{connection_id}", responses=problems(404))
async def stop_playing(named: Labeled, connection_id: str) -> Response:
    """End a viewer's connection."""
    return _ended(await named.session.peers.hang_up(connection_id))


@router.post("/whip/{session_id}", **IN_AND_OUT)
async def publish(request: Request, registry: Registry, named: Labeled, sdp: Sdp) -> Response:
    """Publish into a session whose source is whip://."""
    return _created(request, registry, await named.publish(sdp))


@router.delete("/whip/{session_id}/{connection_id}", responses=problems(404))
async def stop_publishing(named: Labeled, connection_id: str) -> Response:
    """End a publisher's connection."""
    inbound = named.session.inbound
    return _ended(inbound is not None and await inbound.hang_up(connection_id))


@router.options("/whip/{session_id}", include_in_schema=False)
@router.options("/whep/{session_id}", include_in_schema=False)
async def offered(named: Labeled, registry: Registry) -> Response:
    """What may be done here. No other origin is named: pages from elsewhere are refused."""
    return Response(status_code=204, headers={"Allow": OFFERED, **TAKES_SDP, **_relay(registry)})


@router.options("/whip/{session_id}/{connection_id}", include_in_schema=False)
@router.options("/whep/{session_id}/{connection_id}", include_in_schema=False)
async def connected(named: Labeled, connection_id: str) -> Response:
    """What may be done with a connection."""
    return Response(status_code=204, headers={"Allow": CONNECTED})


@router.api_route("/whip/{session_id}", methods=NOT_OFFERED, include_in_schema=False)
@router.api_route("/whep/{session_id}", methods=NOT_OFFERED, include_in_schema=False)
async def not_offered(session_id: str) -> Response:
    """Nothing else is done here."""
    raise HTTPException(405, "expected POST with an offer", {"Allow": OFFERED})


@router.api_route("/whip/{session_id}/{_}", methods=NOT_CONNECTED, include_in_schema=False)
@router.api_route("/whep/{session_id}/{_}", methods=NOT_CONNECTED, include_in_schema=False)
async def not_connected(session_id: str) -> Response:
    """Nothing else is done with a connection."""
    raise HTTPException(405, "expected DELETE, there is no trickle ICE", {"Allow": CONNECTED})

"""What monitoring asks: health and numbers."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response

from service.http.error_handlers import TRY_AGAIN
from service.http.metrics import CONTENT_TYPE, exposition
from service.http.routes.registry import Registry, problems
from service.http.schemas import Health

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Health:
    """The loop is alive."""
    return Health(status="alive")


@router.get("/readyz", responses=problems(503))
async def readyz(registry: Registry) -> Health:
    """The models answer and a viewer would be admitted; 503 with the reason otherwise."""
    reason = registry.why_not_ready()
    if reason is not None:
        raise HTTPException(503, reason, TRY_AGAIN)
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(registry: Registry) -> Response:
    """For Prometheus."""
    return Response(exposition(registry), media_type=CONTENT_TYPE)

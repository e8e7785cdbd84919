"""HTTP, by who asks: people (pages), monitoring (health), programs (sessions, webrtc)."""

from fastapi import APIRouter

from service.http.routes import health, pages, sessions, webrtc

router = APIRouter()
for part in (pages, health, sessions, webrtc):
    router.include_router(part.router)

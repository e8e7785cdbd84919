"""HTTP, by who asks: people (pages), monitoring (health), programs (sessions, lessons, webrtc)."""

from fastapi import APIRouter

from service.http.routes import health, lessons, pages, sessions, webrtc

router = APIRouter()
for part in (pages, health, sessions, lessons, webrtc):
    router.include_router(part.router)

"""HTTP, by who asks: people (pages), monitoring (health), programs (sessions)."""

from fastapi import APIRouter

from service.routes import health, pages, sessions

router = APIRouter()
for part in (pages, health, sessions):
    router.include_router(part.router)

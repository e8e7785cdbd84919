"""Errors raised on purpose, as HTTP says them: a code and one sentence."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from models.errors import ModelError
from service.errors import (
    BusyError,
    LessonStateError,
    NotInboundError,
    RecordingForbiddenError,
    RecordingStateError,
    UnknownSessionError,
)
from service.live.source_policy import SourceRefusedError
from service.model.process import ModelFailedError
from streaming.errors import StreamingError

CODES: dict[type[Exception], int] = {
    UnknownSessionError: 404,
    SourceRefusedError: 403,
    RecordingForbiddenError: 403,
    NotInboundError: 409,
    RecordingStateError: 409,
    LessonStateError: 409,
    BusyError: 503,
    ModelFailedError: 503,
    ModelError: 400,  # a profile that does not fit, an engine that cannot run here
    StreamingError: 400,  # an offer that cannot be answered, a source that cannot be opened
}
TRY_AGAIN = {"Retry-After": "10"}  # seconds; goes with every 503
LONGEST = 250  # characters


def add_error_handlers(app: FastAPI) -> None:
    """Let routes raise what they mean; here it becomes an answer."""
    for kind in CODES:
        app.add_exception_handler(kind, _say)
    app.add_exception_handler(RequestValidationError, _say_what_was_expected)


async def _say(_: Request, error: Exception) -> JSONResponse:
    code = next(code for kind, code in CODES.items() if isinstance(error, kind))
    headers = TRY_AGAIN if code == 503 else None
    sentence = " ".join(str(error).split())[:LONGEST]  # it may quote what was given
    return JSONResponse({"detail": sentence}, code, headers)


async def _say_what_was_expected(_: Request, error: Exception) -> JSONResponse:
    """One sentence; the library's own answer quotes the whole input back."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"detail": f"{place}: {first['msg']}"}, 422)

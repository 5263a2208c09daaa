"""Errors as `application/problem+json` (RFC 9457). The only code that gives an error a status of HTTP."""

import logging
import secrets
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ultramarine.domain.errors import (
    AlreadyExists,
    Conflict,
    DiskFull,
    IllegalTransition,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotSignedIn,
    StaleWrite,
    TooLarge,
    UltramarineError,
    Unavailable,
)
from ultramarine.files.logs import OffsetDiffers
from ultramarine.services.nodes import NodeReleased

log = logging.getLogger(__name__)

STATUS: Mapping[type[UltramarineError], int] = {
    InvalidInput: 422,
    NotFound: 404,
    AlreadyExists: 409,
    IllegalTransition: 409,
    StaleWrite: 409,
    Conflict: 409,
    NotSignedIn: 401,
    NotAllowed: 403,
    TooLarge: 413,
    DiskFull: 507,
    Unavailable: 503,
    NodeReleased: 410,
}


def status_of(kind: type[UltramarineError]) -> int:
    """The status of the nearest kind above it in the tree."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), 500)


def install(app: FastAPI) -> None:
    app.add_exception_handler(UltramarineError, answer)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _bug)


def _answer(
    request: Request, status: int, *, title: str, detail: str, hint: str, code: str, **more: object
) -> JSONResponse:
    body = {
        "type": f"/docs/reference/errors#{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "hint": hint,
        "instance": request.url.path,
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(body | more, status, media_type="application/problem+json", headers=headers)


async def answer(request: Request, error: Exception) -> JSONResponse:
    """An error of ours, as it is told."""
    assert isinstance(error, UltramarineError), "registered for this kind"
    more = {"size": error.size} if isinstance(error, OffsetDiffers) else {}
    kind = type(error)
    return _answer(
        request, status_of(kind), title=kind.title, detail=str(error), hint=error.hint, code=error.code, **more
    )


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError), "registered for this kind"
    findings = "; ".join(f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}" for found in error.errors())
    return _answer(
        request,
        422,
        title=InvalidInput.title,
        detail=findings,
        hint="Correct the part named above; /api/v1/openapi.json describes every request.",
        code="invalid-input",
    )


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException), "registered for this kind"
    hint = "/api/v1/openapi.json lists every address and method."
    return _answer(
        request,
        error.status_code,
        title=str(error.detail),
        detail=f"{request.method} {request.url.path}: {error.detail}.",
        hint=hint,
        code="http",
    )


async def _bug(request: Request, error: Exception) -> JSONResponse:
    """Not an error of ours: a bug.

    Its trace is in the log under the id that the user sees; nothing of the inside goes out.
    """
    trace = secrets.token_hex(8)
    log.error("trace %s: %s %s", trace, request.method, request.url.path, exc_info=error)
    return _answer(
        request,
        500,
        title="A bug in Ultramarine",
        detail=f"Something unforeseen happened (trace {trace}).",
        hint=f"Look for {trace} in logs/control.log of the home.",
        code="bug",
    )

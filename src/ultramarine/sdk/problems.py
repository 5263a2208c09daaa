"""Error answers as the errors they were on the server."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ultramarine.domain.errors import (
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotSignedIn,
    TooLarge,
    UltramarineError,
    Unavailable,
    code_of,
)

#: For codes that this client does not know: a server may be newer, or an answer not its own.
_OF_STATUS: Mapping[int, type[UltramarineError]] = {
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, content: bytes, *, request: str) -> UltramarineError:
    """The error that an answer of `status` carries; `request` is named where the answer is no problem+json."""
    problem = _problem(content)
    code = str(problem.get("code", ""))
    kind = _kinds().get(code) or _OF_STATUS.get(status, UltramarineError)
    said = content[:300].decode(errors="replace").strip() or "no words"
    detail = str(problem.get("detail") or f"{request} was answered with status {status}: {said}")
    return rebuilt(kind, detail, hint=str(problem.get("hint") or _next_step(status)))


def rebuilt(kind: type[UltramarineError], detail: str, *, hint: str) -> UltramarineError:
    """An error of that kind with these words, past the kind's own way of making them."""
    error = kind.__new__(kind, detail)
    UltramarineError.__init__(error, detail, hint=hint)
    return error


def _kinds() -> Mapping[str, type[UltramarineError]]:
    return {code_of(kind): kind for kind in _tree(UltramarineError)}


def _tree(kind: type[UltramarineError]) -> Iterator[type[UltramarineError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _tree(each)


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _next_step(status: int) -> str:
    if status == 401:
        return "Give the token of this server: export ULTRAMARINE_TOKEN=TOKEN (um token create makes one)."
    return "Look whether the server is well: um status"

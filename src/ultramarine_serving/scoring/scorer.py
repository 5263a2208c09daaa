"""What the two ways of scoring (a script, an MLflow model) have in common, and the answers they share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ultramarine_serving.http.server import Request, Response, problem

from .turns import Full, TookTooLong, WaitedTooLong

JSON = ((b"content-type", b"application/json"),)
INVOCATIONS = "/invocations"


@dataclass(frozen=True)
class Described:
    """What a model is, in the words of the Open Inference Protocol: tensors with name, datatype and shape."""

    platform: str
    inputs: Sequence[Mapping[str, object]]
    outputs: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Load:
    """What a scorer has done since its start, and what it has before it now."""

    requests: int = 0
    calls: int = 0  # of the model or script: several requests may share one
    waiting: int = 0
    in_work: int = 0


class Scorer(Protocol):
    """Answers requests. Made at once, usable when `load` has returned."""

    def load(self) -> None:
        """Bring the model up; called once, in the worker's thread. Raises whatever goes wrong."""
        ...

    def describe_failure(self, error: BaseException) -> str:
        """One sentence that says what went wrong in `load`."""
        ...

    @property
    def methods(self) -> Sequence[str]:
        """What /score and /invocations answer."""
        ...

    def score(self, request: Request) -> Response | asyncio.Future[Response]:
        """Answer one request to /score or /invocations."""
        ...

    def infer(self, request: Request) -> Response | asyncio.Future[Response]:
        """Answer one inference of the Open Inference Protocol."""
        ...

    def describe(self) -> Described:
        """The model's metadata in that protocol."""
        ...

    def load_now(self) -> Load:
        """How much it has had to do, and has."""
        ...

    def overdue_s(self) -> float:
        """For how long a call has gone on after its time-out; 0 while none has."""
        ...

    def where(self) -> str:
        """Where that call is: a stack."""
        ...

    def schemas(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """JSON schemas, as OpenAPI 3.0 has them, of the body that /score takes and of its answer."""
        ...


def bad_request(detail: str) -> Response:
    """400: the body cannot be used."""
    return problem(400, "The request cannot be scored", detail, hint="Correct the body and send it again.")


def out_of_time(error: BaseException) -> Response | None:
    """The answer to a request that found no turn or took too long; None for any other error."""
    if isinstance(error, Full):
        return _too_busy("The model is busy and its queue is full.")
    if isinstance(error, WaitedTooLong):
        return _too_busy("The model is busy, and no turn came within the time that a request may wait.")
    if isinstance(error, TookTooLong):
        return problem(
            408,
            "The model took too long",
            "Its call lasted longer than a request may take.",
            hint="Ask for less at a time, or raise request_timeout_ms in the deployment's request_settings.",
        )
    return None


def _too_busy(detail: str) -> Response:
    return problem(
        429,
        "Too many requests wait",
        detail,
        hint="Try again after a second, or give the deployment more instances.",
        headers=[(b"retry-after", b"1")],
    )


def method_not_allowed(request: Request, methods: Sequence[str]) -> Response:
    """405 with the methods that would do."""
    allowed = ", ".join(methods)
    return problem(
        405,
        "Method not allowed",
        f"{request.path} does not answer {request.method}.",
        hint=f"Use {allowed}.",
        headers=[(b"allow", allowed.encode())],
    )

"""The protocol's routes: health, metadata, inference."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote

from ultramarine_serving.http.server import Request, Response

from ..scorer import JSON, Described
from .errors import error, of_problem

PREFIX = "/v2"
_SERVER = {"name": "ultramarine", "version": "1", "extensions": ["binary_tensor_data"]}


class Served(Protocol):
    """What the routes need to know of the server."""

    def refusal(self) -> Response | None:
        """Why no request is taken now, as a problem; None when they are."""
        ...

    def is_alive(self) -> bool: ...
    def describe(self) -> Described: ...
    def infer(self, request: Request) -> Response | asyncio.Future[Response]: ...


class OpenInference:
    """Answers what begins with /v2, for one model in one version."""

    def __init__(self, served: Served, *, name: str, version: str) -> None:
        self._served = served
        self._name = name
        self._version = version

    def handle(self, request: Request) -> Response | asyncio.Future[Response]:
        match = [unquote(part) for part in request.path.split("/")[2:]]
        if match and match[-1] == "":
            match.pop()
        is_inference = len(match) > 1 and match[0] == "models" and match[-1] == "infer"
        allowed = "POST" if is_inference else "GET"
        if request.method != allowed and not (request.method == "HEAD" and not is_inference):
            refused = error(405, f"{request.path} does not answer {request.method}. Use {allowed}.")
            refused.headers = [*JSON, (b"allow", b"POST" if is_inference else b"GET, HEAD")]
            return refused
        if not match:
            return _sent(_SERVER)
        if match == ["health", "live"]:
            return _sent({"live": self._served.is_alive()}, is_well=self._served.is_alive())
        if match == ["health", "ready"]:
            is_ready = self._served.refusal() is None
            return _sent({"ready": is_ready, "live": self._served.is_alive()}, is_well=is_ready)
        if match[0] == "models" and len(match) > 1:
            return self._of_model(match[1:], request)
        return error(404, f"There is nothing at {request.path}.")

    def _of_model(self, path: Sequence[str], request: Request) -> Response | asyncio.Future[Response]:
        name, *rest = path
        if name != self._name:
            return error(404, f"The model {name!r} is not here, but {self._name!r} is.")
        if rest[:1] == ["versions"] and len(rest) > 1:
            if rest[1] != self._version:
                return error(404, f"Version {rest[1]!r} of {name!r} is not here, but {self._version!r} is.")
            rest = rest[2:]
        refusal = self._served.refusal()
        if rest == ["ready"]:
            return _sent({"name": name, "ready": refusal is None}, is_well=refusal is None)
        if rest not in ([], ["infer"]):
            return error(404, f"There is nothing at {request.path}.")
        if refusal is not None:
            return of_problem(refusal)
        if rest:
            return self._served.infer(request)
        described = self._served.describe()
        return _sent(
            {
                "name": name,
                "versions": [self._version],
                "platform": described.platform,
                "inputs": list(described.inputs),
                "outputs": list(described.outputs),
            }
        )


def _sent(document: Mapping[str, object], *, is_well: bool = True) -> Response:
    return Response(200 if is_well else 503, JSON, json.dumps(document).encode())

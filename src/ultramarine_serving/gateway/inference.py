"""`/endpoints/{workspace}/{endpoint}/…`: who may ask, and what for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultramarine_serving.gateway import forwarding
from ultramarine_serving.gateway.admission import refuse_key, refuse_token
from ultramarine_serving.gateway.authorize import Authorizer
from ultramarine_serving.gateway.deployments import DeploymentState
from ultramarine_serving.gateway.endpoints import EndpointState
from ultramarine_serving.gateway.exchange import Exchange
from ultramarine_serving.gateway.holding import Bell
from ultramarine_serving.gateway.paths import ambiguous, is_ambiguous
from ultramarine_serving.gateway.refusals import no_endpoint
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.table import Table
from ultramarine_serving.http.body import BodyTooLarge
from ultramarine_serving.http.messages import Request, Response, problem

PREFIX = "/endpoints/"

#: What is served below an endpoint, and where at the replica: the empty path is the table's own word on it.
_TAILS = {
    "/score": "",
    "/swagger.json": "/swagger.json",
    "": "/",
    "/": "/",
    "/invocations": "/invocations",
    "/v2": "/v2",
}
_BELOW = ("v2/health/", "v2/models/")  #: the Open Inference Protocol


class Inference:
    """All endpoints of the table."""

    def __init__(self, *, worker: int, workers: int) -> None:
        self._worker = worker
        self._workers = workers
        self._states: dict[str, EndpointState] = {}
        self._served: dict[str, tuple[EndpointState, str]] = {}  #: by whole path, of what has one name
        self._bell = Bell()
        self._authorizer: Authorizer | None = None

    def update(self, table: Table, *, authorizer: Authorizer | None) -> None:
        """Take over a new table at one stroke; what is under way goes on."""
        self._bell.update(authorizer)
        self._authorizer = authorizer
        for name in self._states.keys() - table.endpoints.keys():
            self._states.pop(name).leave()
        for name, endpoint in table.endpoints.items():
            state = self._states.get(name) or self._states.setdefault(name, EndpointState(name, on_held=self._held))
            state.update(endpoint, worker=self._worker, workers=self._workers)
        self._served = {
            f"{PREFIX}{name}{tail}": (state, path)
            for name, state in self._states.items()
            for tail, path in _TAILS.items()
        }

    def _held(self, endpoint: str, deployment: DeploymentState) -> None:
        self._bell.ring(endpoint, deployment.name, lambda: deployment.held > 0)

    @property
    def replicas(self) -> Mapping[str, ReplicaState]:
        return {
            name: replica
            for endpoint in self._states.values()
            for deployment in endpoint.deployments.values()
            for name, replica in deployment.replicas.items()
        }

    def status(self) -> dict[str, Any]:
        """For `GET /status`."""
        return {
            "replicas": {name: replica.told() for name, replica in self.replicas.items()},
            "endpoints": {name: endpoint.told() for name, endpoint in self._states.items()},
        }

    async def answer(self, request: Request) -> Response:
        """Answer a request whose path begins with PREFIX."""
        found = self._served.get(request.path) or self._below(request.path)
        if found is None:
            return no_endpoint(request)
        state, path = found
        if is_ambiguous(path):
            return ambiguous()
        if state.spec.auth_mode == "key":
            refusal = refuse_key(request, state.spec)
        else:
            refusal = await refuse_token(request, state.name, self._authorizer)
        if refusal is not None:
            return refusal
        state.requests += 1
        id = forwarding.request_id(request)
        try:
            body = await _read(request, state.spec.body_max_bytes)
        except BodyTooLarge as error:
            return problem(413, "Body too large", str(error), hint="Send smaller batches.", close=True)
        return await Exchange(request, state, body, path=path, id=id).run()

    def _below(self, path: str) -> tuple[EndpointState, str] | None:
        """As in `_served`, for what has many names."""
        workspace, _, rest = path[len(PREFIX) :].partition("/")
        name, _, tail = rest.partition("/")
        state = self._states.get(f"{workspace}/{name}")
        return None if state is None or not tail.startswith(_BELOW) else (state, f"/{tail}")


async def _read(request: Request, max_bytes: int) -> bytes:
    stream = request.stream
    size = len(request.body) if stream is None else int(request.header(b"content-length", b"0"))
    if size > max_bytes:
        raise BodyTooLarge(f"The body is longer than {max_bytes} bytes.")
    return request.body if stream is None else await stream.read_all(max_bytes)

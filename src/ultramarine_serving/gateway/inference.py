"""`/endpoints/{workspace}/{endpoint}/…`: who may ask, which replica answers."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any

from ultramarine_serving.gateway import endpoints, forwarding
from ultramarine_serving.gateway.endpoints import EndpointState
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.table import Endpoint, Table
from ultramarine_serving.http.body import BodyTooLarge
from ultramarine_serving.http.client import Broken, NotConnected, TooSlow, UpstreamError
from ultramarine_serving.http.messages import Request, Response, problem

PREFIX = "/endpoints/"
PIN = b"azureml-model-deployment"

_TAILS = ("score", "swagger.json", "")
_DROP = frozenset((b"authorization", PIN))


class Inference:
    """All endpoints of the table."""

    def __init__(self, *, worker: int, workers: int) -> None:
        self._worker = worker
        self._workers = workers
        self._states: dict[str, EndpointState] = {}

    def update(self, table: Table) -> None:
        """Take over a new table at one stroke; what is under way goes on."""
        for name in self._states.keys() - table.endpoints.keys():
            self._states.pop(name).leave()
        for name, endpoint in table.endpoints.items():
            state = self._states.get(name) or self._states.setdefault(name, EndpointState(name))
            state.update(endpoint, worker=self._worker, workers=self._workers)

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
            "replicas": {
                name: {
                    "state": r.state,
                    "why": r.why,
                    "in_flight": r.in_flight,
                    "requests": r.requests,
                    "errors": r.errors,
                }
                for name, r in self.replicas.items()
            },
            "endpoints": {
                name: {"in_flight": e.in_flight, "queued": e.queued, "requests": e.requests}
                for name, e in self._states.items()
            },
        }

    async def answer(self, request: Request) -> Response:
        """Answer a request whose path begins with PREFIX."""
        workspace, _, rest = request.path[len(PREFIX) :].partition("/")
        name, _, tail = rest.partition("/")
        state = self._states.get(f"{workspace}/{name}")
        if state is None or tail not in _TAILS:
            hint = "Look up the scoring URI: um online-endpoint show."
            return problem(404, "No such endpoint", f"Nothing is served at {request.path}.", hint=hint)
        refusal = refuse_key(request.header(b"authorization"), state.spec)
        if refusal is not None:
            return refusal
        state.requests += 1
        id = forwarding.request_id(request)
        try:
            body = await _read(request, state.spec.body_max_bytes)
            pin = request.header(PIN).decode("latin-1")
            return await self._forward(request, state, tail, body, (pin, id))
        except BodyTooLarge as error:
            return problem(413, "Body too large", str(error), hint="Send smaller batches.", close=True)
        except endpoints.Unroutable as error:
            return _unroutable(error, state, id)

    async def _forward(
        self, request: Request, state: EndpointState, tail: str, body: bytes, said: tuple[str, bytes]
    ) -> Response:
        """Choose, send, and send elsewhere as long as no byte was sent."""
        pin, id = said
        deployment = state.choose(pin)
        headers = forwarding.onward_headers(request, id, drop=_DROP)
        if body or request.method not in ("GET", "HEAD"):
            headers.append((b"content-length", b"%d" % len(body)))
        extra = [(PIN, deployment.encode()), (b"x-request-id", id)]
        timeout_s = state.spec.request_timeout_s
        while True:
            replica = await state.acquire(deployment)
            path = replica.replica.path if tail == "score" else f"/{tail}"
            target = f"{path}?{request.query}" if request.query else path
            head = forwarding.onward_head(request, target, headers)
            release = _Release(state, deployment, replica)
            try:
                answer = await replica.pool.ask(head, body, is_head=request.method == "HEAD", timeout_s=timeout_s)
            except NotConnected as error:
                release()
                replica.take_out(str(error))
            except UpstreamError as error:
                release()
                replica.errors += 1
                return _failed(error, replica, extra)
            except BaseException:  # the client has gone
                release()
                raise
            else:
                return forwarding.onward_answer(request, answer, extra, on_end=release)


class _Release:
    """Ends a request's claim on its replica."""

    __slots__ = ("_deployment", "_replica", "_state")

    def __init__(self, state: EndpointState, deployment: str, replica: ReplicaState) -> None:
        self._state = state
        self._deployment = deployment
        self._replica = replica

    def __call__(self) -> None:
        self._state.release(self._deployment, self._replica)


async def _read(request: Request, max_bytes: int) -> bytes:
    stream = request.stream
    if stream is None:
        return request.body
    if stream.is_complete and stream.total <= max_bytes:
        return stream.take()
    declared = request.header(b"content-length")
    if declared and int(declared) > max_bytes:
        raise BodyTooLarge(f"The body is longer than {max_bytes} bytes.")
    return await stream.read_all(max_bytes)


def refuse_key(authorization: bytes, endpoint: Endpoint) -> Response | None:
    """None if the key is one of the endpoint's. All keys are compared, each in constant time."""
    scheme, _, key = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not key:
        hint = "Send the header Authorization: Bearer KEY; um online-endpoint get-credentials shows the key."
        headers = [(b"www-authenticate", b'Bearer realm="endpoint"')]
        return problem(401, "Key missing", "The endpoint wants a key.", hint=hint, headers=headers)
    digest = hashlib.sha256(key.strip()).digest()
    matches = 0
    for each in endpoint.keys_sha256:
        matches |= hmac.compare_digest(digest, each)
    if not matches:
        hint = "Take the key of this endpoint: um online-endpoint get-credentials."
        return problem(403, "Wrong key", "The key is not one of this endpoint's.", hint=hint)
    return None


def _unroutable(error: endpoints.Unroutable, state: EndpointState, id: bytes) -> Response:
    retry = [(b"x-request-id", id), (b"retry-after", b"%d" % max(1, math.ceil(state.spec.queue_wait_s)))]
    name = state.name
    if isinstance(error, endpoints.UnknownDeployment):
        known = ", ".join(state.deployments) or "none"
        hint = f"Deployments of it: {known}. Leave the header {PIN.decode()} out to follow the traffic."
        return problem(
            404,
            "No such deployment",
            f"Endpoint {name} has no deployment {str(error)!r}.",
            hint=hint,
            headers=retry[:1],
        )
    if isinstance(error, endpoints.NoTraffic):
        hint = "Give a deployment traffic: um online-endpoint update --traffic."
        return problem(503, "No traffic", f"No deployment of {name} has traffic.", hint=hint, headers=retry)
    if isinstance(error, endpoints.NoReplica):
        hint = "Send it again after Retry-After; um online-deployment get-logs shows why a replica does not start."
        return problem(503, "No replica answers", f"Endpoint {name}: {error}.", hint=hint, headers=retry)
    hint = "Send it again after Retry-After, fewer at a time; or add instances."
    if isinstance(error, endpoints.QueueFull):
        detail = f"{state.queue_max} requests wait for {name} already."
    else:
        detail = f"No replica of {name} was free within {state.spec.queue_wait_s:g} s."
    return problem(429, "Too many requests", detail, hint=hint, headers=retry)


def _failed(error: UpstreamError, replica: ReplicaState, extra: list[tuple[bytes, bytes]]) -> Response:
    if isinstance(error, TooSlow):
        hint = "Send less at a time, or raise request_settings.request_timeout_ms of the deployment."
        return problem(504, "Replica too slow", f"The replica gave {error}.", hint=hint, headers=extra)
    if isinstance(error, Broken):
        replica.take_out(str(error))  # it may be dying: let the probe say, before others are sent there
    hint = "It may have been worked on: send it again only if that does no harm."
    return problem(502, "Replica broke off", f"The replica took the request, then {error}.", hint=hint, headers=extra)

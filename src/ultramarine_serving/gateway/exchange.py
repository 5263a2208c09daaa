"""One request to an endpoint: which deployment, which replica, sent, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial

from ultramarine_serving.gateway import forwarding
from ultramarine_serving.gateway.deployments import PIN, TIMEOUT, DeploymentState
from ultramarine_serving.gateway.endpoints import EndpointState
from ultramarine_serving.gateway.holding import SCALE_UP_TIMEOUT, BadTimeout, hold_s_of
from ultramarine_serving.gateway.mirroring import MARK, Copy
from ultramarine_serving.gateway.refusals import bad_timeout, failed_answer, unroutable_answer
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.unroutable import Left, NoReplica, UnknownDeployment, Unroutable
from ultramarine_serving.http.client import Answer, Broken, NotConnected, UpstreamError
from ultramarine_serving.http.messages import Request, Response
from ultramarine_serving.http.tls import SECRET

_DROP = forwarding.DROPPED | {b"authorization", PIN, SCALE_UP_TIMEOUT, MARK, TIMEOUT, SECRET}
_SAFE = frozenset(("GET", "HEAD"))
REPEATS_MAX = 2  #: of one request
TRIES_MAX = 200  #: as many replicas may have died at once; one that answers its probe alone is not asked for ever


class Exchange:
    """From the choice of a deployment to the head of the answer. It is counted once, whatever comes of it."""

    __slots__ = (
        "_began",
        "_body",
        "_deployment",
        "_endpoint",
        "_id",
        "_loop",
        "_path",
        "_pin",
        "_repeats",
        "_request",
        "_until",
        "_wait_s",
    )
    _deployment: DeploymentState

    def __init__(self, request: Request, endpoint: EndpointState, body: bytes, *, path: str, id: bytes) -> None:
        """`path`: where at the replica; empty: where it takes data for its model."""
        self._request = request
        self._endpoint = endpoint
        self._body = body
        self._path = path
        self._id = id
        self._pin = request.header(PIN).decode("latin-1")
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._repeats = 0
        self._wait_s = 1.0
        self._until: float | None = None  #: when to wait for a replica no longer, once it has begun to wait

    async def run(self) -> Response:
        try:
            self._choose()
        except Unroutable as error:
            return unroutable_answer(error, self._endpoint, wait_s=1.0, id=self._id)
        status = 499  # the client has gone
        try:
            response = await self._send()
            status = response.status
            return response
        finally:
            self._deployment.counts.answered(status, self._loop.time() - self._began)

    def _choose(self) -> None:
        """Raises UnknownDeployment, NoTraffic."""
        self._deployment = self._endpoint.choose(self._pin)
        self._deployment.counts.requests += 1
        self._deployment.repeats.earn()

    async def _send(self) -> Response:
        """Send, and send elsewhere where that does no harm."""
        request = self._request
        headers = forwarding.trace(forwarding.onward_headers(request, self._id, drop=_DROP), self._id)
        if forwarding.is_websocket(request):
            headers += forwarding.UPGRADE
        if self._body or request.method not in ("GET", "HEAD"):
            headers.append((b"content-length", b"%d" % len(self._body)))
        for _ in range(TRIES_MAX):
            try:
                replica = self._deployment.take() or await self._wait()
            except Unroutable as error:
                return unroutable_answer(error, self._endpoint, wait_s=self._wait_s, id=self._id)
            except BadTimeout as error:
                return bad_timeout(error)
            response = await self._try(replica, headers)
            if response is not None:
                return response
        error = NoReplica(f"no connection could be made, {TRIES_MAX} times in a row")
        return unroutable_answer(error, self._endpoint, wait_s=self._wait_s, id=self._id)

    async def _try(self, replica: ReplicaState, headers: list[tuple[bytes, bytes]]) -> Response | None:
        """Send it to a replica; None if it may be sent to another."""
        try:
            answer = await self._ask(replica, headers)
        except NotConnected as error:
            self._deployment.release(replica)
            replica.take_out(str(error))
            return None
        except UpstreamError as error:
            self._deployment.release(replica)
            replica.failed(error)
            may_repeat = isinstance(error, Broken) and self._may_repeat()
            return None if may_repeat else failed_answer(error, self._said())
        except BaseException:  # the client has gone
            self._deployment.release(replica)
            raise
        replica.succeeded()
        release = partial(self._deployment.release, replica)
        response = forwarding.onward_answer(self._request, answer, self._said(), on_end=release)
        if self._endpoint.spec.mirror and self._request.method == "POST" and not self._pin:
            self._mirror(headers, response)
        return response

    def _may_repeat(self) -> bool:
        """Whether it may be sent again after it was sent: it does no harm, and not too many are."""
        if not (self._deployment.spec.idempotent or self._request.method in _SAFE) or self._repeats >= REPEATS_MAX:
            return False
        self._repeats += 1
        return self._deployment.repeats.spend()

    def _mirror(self, headers: list[tuple[bytes, bytes]], response: Response) -> None:
        endpoint, request = self._endpoint, self._request
        for name in endpoint.mirroring.due(endpoint.spec.mirror):
            answer = response.body if isinstance(response.body, bytes) and response.status < 500 else None
            copy = Copy(self._path, request.query, headers, self._body, status=response.status, answer=answer)
            if name in endpoint.deployments:
                endpoint.mirroring.send(copy, endpoint.deployments[name])

    def _said(self) -> list[tuple[bytes, bytes]]:
        return [self._deployment.pin, (b"x-request-id", self._id)]

    async def _wait(self) -> ReplicaState:
        """A place at a replica of the deployment, or at one of another. Raises Unroutable, BadTimeout."""
        while True:
            deployment = self._deployment
            if self._until is None:
                spec = deployment.spec
                self._wait_s = hold_s_of(self._request, spec.hold_s) if deployment.wants_hold else spec.queue_wait_s
                self._until = self._loop.time() + self._wait_s
            try:
                return await deployment.wait(self._until)
            except Left:
                if self._pin:
                    raise UnknownDeployment(self._pin) from None
                self._choose()

    def _ask(self, replica: ReplicaState, headers: list[tuple[bytes, bytes]]) -> Awaitable[Answer]:
        request = self._request
        path = self._path or replica.replica.path
        target = f"{path}?{request.query}" if request.query else path
        head = forwarding.onward_head(request, target, [*headers, self._deployment.timeout, *replica.said])
        timeout_s = self._deployment.spec.request_timeout_s
        return replica.pool.ask(head, self._body, is_head=request.method == "HEAD", timeout_s=timeout_s)

"""Copies of requests for a deployment beside: sent once the original was answered, so that they delay nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ultramarine_serving.gateway.agreement import agree
from ultramarine_serving.gateway.deployments import DeploymentState
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.http.body import BodyTooLarge
from ultramarine_serving.http.client import NotConnected, UpstreamError
from ultramarine_serving.http.wire import Headers, head

IN_FLIGHT_MAX = 32  #: of one endpoint in this worker
ANSWER_MAX_BYTES = 16_777_216  #: a longer one is not compared
MARK = b"x-ultramarine-mirrored"


@dataclass(frozen=True)
class Copy:
    """A request and what was answered to it. `answer` is None where that was streamed, or is no good to compare by."""

    path: str  #: where at the replica; empty: where it takes data for its model
    query: str
    headers: Headers
    body: bytes
    status: int
    answer: bytes | None


class Mirroring:
    """Of one endpoint."""

    def __init__(self) -> None:
        self._credit: dict[str, int] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def due(self, shares: Mapping[str, int]) -> list[str]:
        """Which deployments get a copy of this request: of a hundred as many as the share says, evenly spread."""
        found: list[str] = []
        for name, share in shares.items():
            credit = self._credit.get(name, 0) + share
            if credit >= 100:
                credit -= 100
                found.append(name)
            self._credit[name] = credit
        return found

    def send(self, copy: Copy, deployment: DeploymentState) -> None:
        """In the background, if a replica has a place at once and not too many are under way."""
        replica = deployment.take() if len(self._under_way) < IN_FLIGHT_MAX else None
        if replica is None:
            deployment.mirrored.dropped += 1
            deployment.wake()
            return
        task = asyncio.get_running_loop().create_task(_send(copy, deployment, replica))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _send(copy: Copy, deployment: DeploymentState, replica: ReplicaState) -> None:
    counts, loop = deployment.mirrored, asyncio.get_running_loop()
    path = copy.path or replica.replica.path
    target = f"{path}?{copy.query}" if copy.query else path
    marks = (deployment.pin, (MARK, b"true"), deployment.timeout)
    made = head(f"POST {target} HTTP/1.1".encode(), [*copy.headers, *marks, *replica.said])
    timeout_s = deployment.spec.request_timeout_s
    began = loop.time()
    try:
        answer = await replica.pool.ask(made, copy.body, timeout_s=timeout_s)
        counts.seconds.add(loop.time() - began)
        try:
            body = await asyncio.wait_for(answer.body.read_all(ANSWER_MAX_BYTES), timeout_s)
        finally:
            answer.close()
    except NotConnected as error:
        replica.take_out(str(error))
        counts.failed += 1
    except UpstreamError as error:
        replica.failed(error)
        counts.failed += 1
    except asyncio.TimeoutError:
        counts.failed += 1
    except BodyTooLarge:
        pass
    else:
        replica.succeeded()
        if answer.status >= 500:
            counts.failed += 1
        elif copy.answer is not None:
            counts.compared += 1
            counts.agreed += answer.status == copy.status and agree(copy.answer, body)
    finally:
        deployment.release(replica)

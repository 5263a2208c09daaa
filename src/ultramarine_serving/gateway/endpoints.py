"""An endpoint as this worker knows it: which replica is next, who waits for one, how many."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.table import Endpoint
from ultramarine_serving.gateway.weights import SmoothWeights


class Unroutable(Exception):
    """The request cannot be given to a replica now."""


class UnknownDeployment(Unroutable):
    """The request is pinned to a deployment that does not exist."""


class NoTraffic(Unroutable):
    """No deployment of the endpoint has a share of the traffic."""


class QueueFull(Unroutable):
    """As many requests wait as may."""


class WaitedTooLong(Unroutable):
    """No replica was free in time."""


class NoReplica(Unroutable):
    """No replica answers the gateway's probe. The text says why, replica by replica."""


def share(total: int, worker: int, workers: int) -> int:
    """A worker's part of a limit, at least 1 (or 0 of 0); the parts add up to the limit where it is large enough."""
    if total == 0:
        return 0
    return max(1, total // workers + (1 if worker < total % workers else 0))


class DeploymentState:
    """The replicas of one deployment, and the requests that wait for one of them in order of arrival."""

    def __init__(self) -> None:
        self.replicas: dict[str, ReplicaState] = {}
        self.slots_max = 1  #: in flight at one replica, from this worker
        self.waiting: deque[asyncio.Future[ReplicaState]] = deque()

    @property
    def is_up(self) -> bool:
        return any(replica.is_up for replica in self.replicas.values())

    def least_loaded(self) -> ReplicaState | None:
        """The replica with the fewest requests in flight that may take one more; among equals, the one used least."""
        best: ReplicaState | None = None
        for replica in self.replicas.values():
            if not replica.is_up or replica.in_flight >= self.slots_max:
                continue
            if best is None or (replica.in_flight, replica.requests) < (best.in_flight, best.requests):
                best = replica
        return best

    def hand_out(self) -> None:
        """Give free slots to those who wait. Called when a slot is free again, or a replica has come up."""
        while self.waiting:
            waiter = self.waiting[0]
            if waiter.done():
                self.waiting.popleft()
                continue
            replica = self.least_loaded()
            if replica is None:
                return
            self.waiting.popleft()
            replica.in_flight += 1
            waiter.set_result(replica)

    def why_down(self) -> str:
        if not self.replicas:
            return "it has no replicas"
        return "; ".join(f"{name}: {state.why}" for name, state in self.replicas.items())


class EndpointState:
    """Outlives a reload of the table, with all its counts. `choose` and `acquire` are the way in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.deployments: dict[str, DeploymentState] = {}
        self.in_flight = 0
        self.queued = 0
        self.requests = 0
        self._weights = SmoothWeights()

    def update(self, endpoint: Endpoint, *, worker: int, workers: int) -> None:
        """Take over a new table: replicas that are in both go on as they are."""
        if not hasattr(self, "spec") or self.spec.traffic != endpoint.traffic:
            self._weights.forget()
        self.spec = endpoint
        self.queue_max = share(endpoint.queue_max, worker, workers)
        for name in self.deployments.keys() - endpoint.deployments.keys():
            self._drop(self.deployments.pop(name), keep=set())
        for name, deployment in endpoint.deployments.items():
            state = self.deployments.setdefault(name, DeploymentState())
            state.slots_max = share(deployment.max_concurrent, worker, workers)
            wanted = {replica.id: replica for replica in deployment.replicas}
            self._drop(state, keep={i for i, old in state.replicas.items() if wanted.get(i) == old.replica})
            for replica in deployment.replicas:
                if replica.id not in state.replicas:
                    state.replicas[replica.id] = ReplicaState(replica, on_up=state.hand_out)
            state.hand_out()

    def leave(self) -> None:
        """The endpoint is no longer in the table."""
        for state in self.deployments.values():
            self._drop(state, keep=set())
        self.deployments = {}

    @staticmethod
    def _drop(state: DeploymentState, *, keep: set[str]) -> None:
        for name in state.replicas.keys() - keep:
            state.replicas.pop(name).leave()

    def choose(self, pin: str) -> str:
        """The deployment for the next request. Raises UnknownDeployment, NoTraffic.

        A deployment none of whose replicas answers gets no traffic as long as another has some that do.
        """
        if pin:
            if pin not in self.spec.deployments:
                raise UnknownDeployment(pin)
            return pin
        traffic = self.spec.traffic
        usable = [name for name in traffic if self.deployments[name].is_up] or traffic
        chosen = self._weights.choose(traffic, usable)
        if chosen is None:
            raise NoTraffic
        return chosen

    async def acquire(self, deployment: str) -> ReplicaState:
        """A replica, and the right to one request to it until `release`. Raises Unroutable."""
        state = self.deployments.get(deployment)
        if state is None:
            raise UnknownDeployment(deployment)
        replica = None if state.waiting else state.least_loaded()
        if replica is None:
            replica = await self._wait(state)
        else:
            replica.in_flight += 1
        replica.requests += 1
        self.in_flight += 1
        return replica

    def release(self, deployment: str, replica: ReplicaState) -> None:
        """The request is over: whoever waits for the deployment may have the slot."""
        self.in_flight -= 1
        replica.in_flight -= 1
        state = self.deployments.get(deployment)
        if state is not None:
            state.hand_out()

    async def _wait(self, state: DeploymentState) -> ReplicaState:
        """Stand in the queue. The slot is taken (`in_flight`) for us before we wake."""
        if self.queued >= self.queue_max:
            raise QueueFull if state.is_up else NoReplica(state.why_down())
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[ReplicaState] = loop.create_future()
        state.waiting.append(waiter)
        self.queued += 1
        timer = loop.call_later(self.spec.queue_wait_s, _give_up, waiter)
        try:
            return await waiter
        except WaitedTooLong:
            if not state.is_up:
                raise NoReplica(state.why_down()) from None
            raise
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().in_flight -= 1  # the client went just as we got a slot
                state.hand_out()
            raise
        finally:
            timer.cancel()
            self.queued -= 1
            with contextlib.suppress(ValueError):
                state.waiting.remove(waiter)


def _give_up(waiter: asyncio.Future[ReplicaState]) -> None:
    if not waiter.done():
        waiter.set_exception(WaitedTooLong())

"""A deployment as this worker knows it: which replica is next, who waits for one, how many."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from ultramarine_serving.gateway.budget import Budget
from ultramarine_serving.gateway.counts import Counts, Mirrored
from ultramarine_serving.gateway.replicas import ReplicaState
from ultramarine_serving.gateway.served import Deployment
from ultramarine_serving.gateway.unroutable import Left, NoReplica, QueueFull, WaitedTooLong
from ultramarine_serving.shares import share

PIN = b"azureml-model-deployment"
TIMEOUT = b"x-ultramarine-timeout-ms"


class DeploymentState:
    """The replicas of one deployment, and the requests that wait for one of them in order of arrival.

    `take` or `wait` is the way to a replica, `release` the way back. It outlives a reload of the table.
    """

    def __init__(self, name: str, *, on_held: Callable[[DeploymentState], None]) -> None:
        """`on_held`: called when a request begins to wait, or may not wait, for the first replica."""
        self.name = name
        self.pin = (PIN, name.encode())  #: asks for it, and says that it was the one
        self.replicas: dict[str, ReplicaState] = {}
        self.counts = Counts()
        self.mirrored = Mirrored()
        self.repeats = Budget()
        self.in_flight = 0
        self.held = 0  #: requests that wait for the first replica
        self.is_up = False  #: at least one replica is
        self._on_held = on_held
        self._waiting: deque[asyncio.Future[ReplicaState]] = deque()

    def update(self, spec: Deployment, *, worker: int, workers: int) -> None:
        """Take over a new table: replicas that are in both go on as they are."""
        self.spec = spec
        self.slots_max = share(spec.max_concurrent, worker, workers)  #: in flight at one replica, from this worker
        self.queue_max = share(spec.queue_max, worker, workers)
        #: Sent with each request, so that a replica knows when a call of it hangs.
        self.timeout = (TIMEOUT, b"%d" % max(1, round(spec.request_timeout_s * 1000)))
        wanted = {replica.id: replica for replica in spec.replicas}
        for id in [id for id, old in self.replicas.items() if wanted.get(id) != old.replica]:
            self.replicas.pop(id).leave()
        for replica in spec.replicas:
            if replica.id not in self.replicas:
                self.replicas[replica.id] = ReplicaState(replica, on_change=self._changed, may_eject=self._may_eject)
        self._changed()

    def leave(self) -> None:
        """It is no longer in the table. Who waits may choose again."""
        for replica in self.replicas.values():
            replica.leave()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(Left())

    def _changed(self) -> None:
        """A replica is up, or no longer."""
        self.is_up = any(replica.is_up for replica in self.replicas.values())
        self._hand_out()

    @property
    def is_asleep(self) -> bool:
        """It has no replica since nobody asked, and gets one if somebody does."""
        return self.spec.hold_s > 0 and not self.replicas

    @property
    def wants_hold(self) -> bool:
        """A request to it waits for the first replica now, not for a place at one."""
        return self.spec.hold_s > 0 and not self.is_up

    @property
    def queued(self) -> int:
        """Requests that wait for a place at a replica; not those that are held."""
        return len(self._waiting) - self.held

    def take(self) -> ReplicaState | None:
        """The replica with the fewest requests in flight that may take one more; among equals, the one used least.

        It holds a place for one request until `release`. None: all are busy or down, or others came first.
        """
        if self._waiting:
            return None
        replica = self._least_loaded()
        if replica is not None:
            replica.begin()
            self.in_flight += 1
        return replica

    def _least_loaded(self) -> ReplicaState | None:
        best: ReplicaState | None = None
        for replica in self.replicas.values():
            if not replica.is_up or replica.in_flight >= self.slots_max:
                continue
            if best is None or (replica.in_flight, replica.requests) < (best.in_flight, best.requests):
                best = replica
        return best

    def _may_eject(self, replica: ReplicaState) -> bool:
        """Half of the replicas must stay: where most fail, it is the model or the load, and fewer would not help."""
        others_up = sum(other.is_up for other in self.replicas.values() if other is not replica)
        return others_up * 2 >= len(self.replicas)

    def wake(self) -> None:
        """A request would have gone here: if it is asleep, the control plane is told."""
        if self.wants_hold:
            self._on_held(self)

    def release(self, replica: ReplicaState) -> None:
        """The request is over: whoever waits may have its place."""
        self.in_flight -= 1
        replica.in_flight -= 1
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        """Give free places to those who wait. Called when one is free again, or a replica has come up."""
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
                continue
            replica = self._least_loaded()
            if replica is None:
                return
            self._waiting.popleft()
            replica.begin()
            self.in_flight += 1
            waiter.set_result(replica)

    async def wait(self, until: float) -> ReplicaState:
        """As `take`, but stand in the queue. Raises NoReplica, QueueFull, WaitedTooLong, Left."""
        is_held = self.wants_hold
        if is_held:
            self._on_held(self)
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self.queue_max:
            raise self._refusal(QueueFull(f"{self.queue_max} requests wait for {self.name} already"))
        if until <= loop.time():
            raise self._refusal(WaitedTooLong())
        waiter: asyncio.Future[ReplicaState] = loop.create_future()
        self._waiting.append(waiter)
        self.held += is_held
        timer = loop.call_at(until, _give_up, waiter)
        try:
            return await waiter
        except WaitedTooLong as error:
            raise self._refusal(error) from None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())  # the client went just as we got a place
            raise
        finally:
            timer.cancel()
            self.held -= is_held
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)

    def _refusal(self, error: QueueFull | WaitedTooLong) -> Exception:
        return error if self.is_up else NoReplica(self._why_down())

    def _why_down(self) -> str:
        if not self.replicas:
            return f"{self.name} has no replica yet" if self.is_asleep else f"{self.name} has no replicas"
        return "; ".join(f"{name}: {state.why}" for name, state in self.replicas.items())

    def told(self) -> dict[str, Any]:
        """For `GET /status`."""
        up = sum(replica.is_up for replica in self.replicas.values())
        gauges = {"in_flight": self.in_flight, "queued": self.queued, "held": self.held, "up": up}
        return {**gauges, **self.counts.told(), "mirrored": self.mirrored.told()}


def _give_up(waiter: asyncio.Future[ReplicaState]) -> None:
    if not waiter.done():
        waiter.set_exception(WaitedTooLong())

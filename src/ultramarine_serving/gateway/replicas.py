"""A replica as this worker knows it: does it answer, how much is under way, and its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ultramarine_serving.gateway.served import Replica
from ultramarine_serving.http.client import Broken, NotConnected, Pool, UpstreamError
from ultramarine_serving.http.wire import head

BACKOFF_FIRST_S = 0.05
BACKOFF_SHARE = 0.1  #: of the time that it was asked in vain: who waits until it is loaded waits that much longer
BACKOFF_MAX_S = 5.0
PROBE_TIMEOUT_S = 5.0
OVERDUE_S = 0.3  #: later than we do a scoring server knows that its call has taken too long
EJECT_AFTER = 5  #: requests in a row that it took and did not answer
EJECTED_FIRST_S = 1.0
EJECTED_MAX_S = 30.0
IDLE_S = 30.0  #: shorter than the scoring server keeps a connection, so that it is never the one to close first


def pause_s(asked_s: float) -> float:
    """Until the next probe of a replica that was asked in vain for `asked_s`."""
    return min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, BACKOFF_SHARE * asked_s))


class ReplicaState:
    """Lives as long as the replica is in the table under the same address. It is used only while `is_up`."""

    def __init__(
        self, replica: Replica, *, on_change: Callable[[], None], may_eject: Callable[[ReplicaState], bool]
    ) -> None:
        """`on_change`: called when it is up, or no longer. `may_eject`: whether enough others are up."""
        self.replica = replica
        self.pool = Pool(replica.address, idle_s=IDLE_S, expected=replica.expected)
        self.said = () if replica.expected is None else replica.expected.headers  #: to it, with each request
        self.is_up = False
        self.is_gone = False  #: no longer in the table
        self.why = "not probed yet"
        self.in_flight = 0
        self.requests = 0
        self.errors = 0
        self._failures = 0  #: since the last answer
        self._ejections = 0  #: since the last answer
        self._is_ejected = False
        self._on_change = on_change
        self._may_eject = may_eject
        self._probing: asyncio.Task[None] | None = None
        self.probe()

    def begin(self) -> None:
        """A request is given to it."""
        self.in_flight += 1
        self.requests += 1

    @property
    def state(self) -> str:
        if self.is_up:
            return "up"
        if self._is_ejected:
            return "ejected"
        return "probing" if self.why == "not probed yet" else "down"

    def _set_up(self, is_up: bool) -> None:
        if is_up is not self.is_up:
            self.is_up = is_up
            self._on_change()

    def told(self) -> dict[str, Any]:
        """For `GET /status`."""
        counts = {"in_flight": self.in_flight, "requests": self.requests, "errors": self.errors}
        return {"state": self.state, "why": self.why, **counts}

    def succeeded(self) -> None:
        """It answered, whatever it was."""
        if self._failures:
            self._failures = self._ejections = 0

    def failed(self, error: UpstreamError) -> None:
        """It took a request and gave no answer."""
        self.errors += 1
        self._failures += 1
        if self._failures >= EJECT_AFTER and self._may_eject(self):
            self._eject(str(error))
        elif isinstance(error, Broken):
            self.take_out(str(error))  # it may be dying: let the probe say, before others are sent there
        else:
            self.probe(after_s=OVERDUE_S)  # it may hang: then it says so, once its call is over its time

    def _eject(self, why: str) -> None:
        """It answers its probe, maybe, but no requests: leave it alone for a while, longer each time."""
        if self._is_ejected or self.is_gone:
            return
        seconds = min(EJECTED_FIRST_S * 2**self._ejections, EJECTED_MAX_S)
        self._ejections += 1
        self._failures = EJECT_AFTER - 1  # the first failure after its return ejects it again
        self._is_ejected = True
        self._set_up(False)
        self.pool.drop_idle()
        self.why = f"left alone for {seconds:g} s, it failed {EJECT_AFTER} requests in a row, the last: {why}"
        if self._probing is not None:
            self._probing.cancel()
        self._probing = asyncio.get_running_loop().create_task(self._probe(after_s=seconds))

    def take_out(self, why: str) -> None:
        """It refused or broke off: no request goes there until a probe was answered again."""
        if self._is_ejected:
            return
        self._set_up(False)
        self.pool.drop_idle()
        self.why = why
        self.probe()

    def probe(self, *, after_s: float = 0.0) -> None:
        """Ask until it answers 200."""
        if self._probing is None and not self.is_gone:
            self._probing = asyncio.get_running_loop().create_task(self._probe(after_s=after_s))

    async def _probe(self, *, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._is_ejected = False
        own = ((b"host", b"probe"), (b"user-agent", b"ultramarine-gateway"))
        made = head(f"GET {self.replica.probe} HTTP/1.1".encode(), (*own, *self.said))
        clock = asyncio.get_running_loop().time
        begun = clock()
        while True:
            why = await self._probe_once(made)
            if not why:
                break
            self._set_up(False)
            self.why = why
            await asyncio.sleep(pause_s(clock() - begun))
        self._probing = None
        self.why = ""
        self._set_up(True)

    async def _probe_once(self, made: bytes) -> str:
        """Why it is not up; empty if it is."""
        try:
            answer = await asyncio.wait_for(self.pool.ask(made), PROBE_TIMEOUT_S)
        except asyncio.TimeoutError:
            return f"the probe got no answer in {PROBE_TIMEOUT_S:g} s"
        except UpstreamError as error:
            return str(error) if isinstance(error, NotConnected) else f"the probe failed: {error}"
        answer.close()
        return "" if answer.status == 200 else f"the probe was answered {answer.status}"

    def leave(self) -> None:
        """It is no longer in the table. What is in flight ends normally."""
        self.is_gone = True
        self._set_up(False)
        if self._probing is not None:
            self._probing.cancel()
        self.pool.close()

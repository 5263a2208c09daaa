"""A runner in memory: it says and does what the real one does (docs/reference/runner-protocol.md), in the world's time.

It is part of the truth that the invariants are held to: what really runs is what is in `SimulatedRunner.runs`.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ultramarine.domain.allocation import Allocation
from ultramarine.domain.errors import Conflict, NotFound, NotSignedIn
from ultramarine.domain.names import RunKey
from ultramarine.files.logs import LogPlace, OffsetDiffers
from ultramarine.services import nodes
from ultramarine.services.context import Context
from ultramarine.services.nodes import Hello, NodeReleased, Report

FLUSH_S = 30.0


class Unreachable(Exception):
    """The message, or its answer, was lost."""


@dataclass(slots=True, kw_only=True)
class Nature:
    """How the ranks of one job behave, on whatever node they are."""

    work_s: float
    failing: float  #: how likely an attempt fails by its own doing
    lines: int
    ranks: int = 1  #: on each of its nodes
    code: int = 1  #: of an attempt that fails
    failures: int = 0  #: a service goes on for ever, once it has ended so often by itself


@dataclass(slots=True)
class SimulatedRun:
    key: str
    owner: str
    phase: str = "preparing"
    wanted: str = "prepare"
    ready_at: float = 0.0
    ends_at: float = 0.0
    timeout_s: float | None = None
    code: int = 0
    ranks: range = range(1)  #: those on this node
    is_task: bool = True
    logs: dict[int, bytes] = field(default_factory=dict[int, bytes])
    shipped: Counter[int] = field(default_factory=Counter[int])  #: bytes, by rank
    is_wanted_log: bool = True
    ended: dict[str, Any] | None = None
    ended_at: float = 0.0


@dataclass(kw_only=True)
class SimulatedRunner:
    allocation: Allocation
    join_secret: str
    epoch: str
    dice: Random
    now: Callable[[], float]
    server: Callable[[], Context | None]
    nature: Callable[[str], Nature]
    started: Callable[[str, str], None]
    loss: float = 0.0  #: of messages: lost on the way, or their answers on the way back; each half of the time
    doubling: float = 0.0
    is_alive: bool = True
    is_closing: bool = False
    token: str = ""
    etag: str = ""
    lease_until: float = 0.0
    cut_off_until: float = 0.0
    runs: dict[str, SimulatedRun] = field(default_factory=dict[str, SimulatedRun])
    forgotten: set[str] = field(default_factory=set[str])
    logs: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])  #: by run and rank, all
    told: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])  #: whose log bytes were all accepted
    late: list[Report] = field(default_factory=list[Report])  #: reports that are still on their way

    def shut_down(self) -> None:
        """Its machine asks it to end: it ends its runs, tells so, and goes."""
        self.is_closing = True
        for run in self.runs.values():
            self._end(run, "stopped", "The runner was asked to end.")

    def die(self) -> None:
        self.is_alive = False
        self.runs.clear()

    async def step(self) -> None:
        """One thing: a look, a report, a piece of log; after what time alone brings about."""
        self._live()
        if self.now() < self.cut_off_until:
            return
        try:
            if not self.token:
                await self._hello()
            else:
                await self.dice.choice((self._look, self._look, self._report, self._report, self._ship))()
        except Unreachable:
            return
        except (NotSignedIn, NodeReleased):
            self.die()

    # What it does by itself

    def _live(self) -> None:
        for run in self.runs.values():
            if self.token and self.now() > self.lease_until and run.is_task:
                self._end(run, "lease", "Its lease is over.")
            if run.phase == "preparing" and self.now() >= run.ready_at:
                run.phase = "ready"
            if run.phase == "ready" and run.wanted == "go":
                self._start(run)
            elif run.phase == "running":
                self._write(run)
                if self.now() >= run.ends_at:
                    self._end(run, self._cause(run), f"Exit code {run.code}.")
            if run.phase == "flushing" and self._has_shipped(run):
                run.phase = "ended"

    def _cause(self, run: SimulatedRun) -> str:
        if run.timeout_s is not None and self.nature(run.owner).work_s > run.timeout_s:
            return "timeout"
        return "exited" if run.code else "completed"

    def address_of(self, run: SimulatedRun) -> str:
        """Where a service listens once it runs."""
        return f"unix:{self.allocation.node}/{run.key}" if run.phase == "running" and not run.is_task else ""

    def _start(self, run: SimulatedRun) -> None:
        nature = self.nature(run.owner)
        is_failing = self.dice.random() < nature.failing if run.is_task else nature.failures > 0
        work_s = nature.work_s if run.is_task or is_failing else math.inf
        nature.failures -= is_failing and not run.is_task
        run.phase, run.ends_at = "running", self.now() + min(work_s, run.timeout_s or work_s)
        run.code = nature.code if is_failing else 0
        self.started(run.key, self.allocation.node)

    def _write(self, run: SimulatedRun) -> None:
        for rank in run.ranks:
            log = run.logs.get(rank, b"")
            if len(log.splitlines()) < self.nature(run.owner).lines:
                run.logs[rank] = log + f"rank {rank} of {run.key} says {self.dice.randrange(10**9)}\n".encode()
                self.logs[run.key, str(rank)] = run.logs[rank]

    def _has_shipped(self, run: SimulatedRun) -> bool:
        return not list(_behind(run)) or not run.is_wanted_log or self.now() - run.ended_at > FLUSH_S

    def _end(self, run: SimulatedRun, cause: str, words: str) -> None:
        """Ranks end at once here; what they wrote is shipped before the end is told."""
        if run.phase in ("flushing", "ended"):
            return
        run.phase, run.ended_at = "flushing", self.now()
        run.ended = {"cause": cause, "code": run.code, "words": words, "outputs": {}, "tail": ""}

    # What it says

    def _server(self) -> Context:
        if (ctx := self.server()) is None or self.dice.random() < self.loss / 2:
            raise Unreachable
        return ctx

    async def _said(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The answer, if it arrives; the message may arrive twice."""
        answer = await call()
        if self.dice.random() < self.doubling:
            answer = await call()
        if self.dice.random() < self.loss / 2:
            raise Unreachable
        return answer

    async def _hello(self) -> None:
        ctx, sent = self._server(), self.now()
        a = self.allocation
        said = Hello(
            protocol=1,
            allocation=a.key,
            rank=0,
            epoch=self.epoch,
            nonce=f"{a.key:_<40}",
            join_secret=self.join_secret,
            machine={},
        )
        try:
            welcome = await self._said(lambda: nodes.hello(ctx, said))
        except (Conflict, NotFound):
            self.die()
            return
        self.token, self.lease_until = welcome.node_token, sent + welcome.lease_s

    async def _look(self) -> None:
        ctx = self._server()
        node = await nodes.signed_in(ctx, self.token)
        found = await self._said(lambda: nodes.desired(ctx, node, etag=self.etag, wait_s=0))
        if found is not None:
            self.etag = found.etag
            self._hear(found.runs)

    def _hear(self, wanted: Mapping[str, Any]) -> None:
        for key, order in wanted.items():
            assert key.startswith(f"{self.epoch}-"), f"{self.allocation.key} shall run {key}, of another epoch"
            if key in self.forgotten or (self.is_closing and key not in self.runs):
                continue
            if key not in self.runs:
                owner = order["spec"]["name"]
                timeout_s = order["spec"]["limits"].get("timeout_s")
                ready_at = self.now() + self.dice.uniform(0, 2)
                first = order["spec"]["node_rank"] * (count := self.nature(owner).ranks)
                self.runs[key] = SimulatedRun(
                    key,
                    owner,
                    ready_at=ready_at,
                    timeout_s=timeout_s,
                    ranks=range(first, first + count),
                    is_task=order["spec"]["mode"] == "task",
                )
            run = self.runs[key]
            order_of = ("prepare", "go", "stop")
            run.wanted = max(run.wanted, order["phase"], key=order_of.index)
            if run.wanted == "stop":
                self._end(run, "stopped", "Stopped, as asked.")
        for key in [key for key in self.runs if key not in wanted]:
            run = self.runs[key]
            self._end(run, "stopped", "Not wanted any more.")
            if run.phase == "ended":
                del self.runs[key]
                self.forgotten.add(key)

    def _body(self) -> Report:
        runs: dict[str, Any] = {}
        for run in self.runs.values():
            phase = "finalizing" if run.phase == "flushing" else run.phase
            ended = run.ended if phase == "ended" else None
            said = {"phase": phase, "address": "127.0.0.1", "port": 40000, "ended": ended}
            runs[run.key] = said | ({"sockets": {"http": address}} if (address := self.address_of(run)) else {})
        return Report.model_validate({"etag": self.etag, "runs": runs, "node": {}})

    async def _report(self) -> None:
        ctx, sent, body = self._server(), self.now(), self._body()
        node = await nodes.signed_in(ctx, self.token)

        async def call() -> Any:
            return nodes.report(ctx, node, body)

        if self.dice.random() < self.doubling:
            self.late.append(body)  # it arrives once more, after newer ones
        if self.late and self.dice.random() < 0.3:
            nodes.report(ctx, node, self.late.pop(0))
        answer = await self._said(call)
        self.lease_until = max(self.lease_until, sent + answer["lease_s"])
        if self.is_closing and all(run["phase"] == "ended" for run in body.model_dump()["runs"].values()):
            self.die()
        for key in answer["fenced"]:
            if key in self.runs:
                self._end(self.runs[key], "stopped", "Fenced.")

    async def _ship(self) -> None:
        behind = [(run, rank) for run in self.runs.values() if run.is_wanted_log for rank in _behind(run)]
        if not behind:
            return
        (run, rank), ctx = self.dice.choice(behind), self._server()
        node = await nodes.signed_in(ctx, self.token)
        log, offset = run.logs[rank], run.shipped[rank]
        piece = log[offset : offset + self.dice.randrange(1, 200)]
        place = LogPlace(run=RunKey(run.key), rank=str(rank), file="std_log.txt")

        def call() -> Awaitable[int]:
            return nodes.append_log(ctx, node, place, piece, offset=offset)

        try:
            run.shipped[rank] = await self._said(call)
        except OffsetDiffers as differs:
            run.shipped[rank] = differs.size
        except NotFound:
            run.is_wanted_log = False
            return
        if run.shipped[rank] == len(log) and run.phase in ("flushing", "ended"):
            self.told.add((run.key, str(rank)))


def _behind(run: SimulatedRun) -> Iterator[int]:
    """Ranks that have written what has not been shipped."""
    return (rank for rank, log in run.logs.items() if run.shipped[rank] < len(log))

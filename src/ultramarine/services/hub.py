"""What is known of nodes right now, in memory: their last reports, and what they shall run.

Nothing here needs to survive: runners report their whole state at every beat, and what they shall run is rendered anew
from the store.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import AllocationKey, ComputeId, NodeKey, RunKey
from ultramarine.planning.idleness import Idleness
from ultramarine.planning.lately import History, ReplicaLoad
from ultramarine.planning.probing import Kind, Probing
from ultramarine.planning.scaling import Memory
from ultramarine.planning.seen import AllocationNews, NodeNews, Patience, Refusal, Seen
from ultramarine.planning.traffic import Traffic
from ultramarine.routing.publisher import Reach
from ultramarine.services.bell import Bell


@dataclass(frozen=True, slots=True)
class Desired:
    """A node's desired state: `runs` as in the runner's protocol, named by its hash."""

    etag: str
    runs: Mapping[str, Any]

    @classmethod
    def of(cls, runs: Mapping[str, Any]) -> "Desired":
        # A specification never changes, so what is hashed at each turn does not hold it.
        moving = {key: {k: v for k, v in run.items() if k != "spec"} for key, run in runs.items()}
        return cls(hashlib.sha256(json.dumps(moving, sort_keys=True).encode()).hexdigest()[:16], runs)


@dataclass(slots=True)
class _Pool:
    """What is known of one pool, whose loop alone writes it."""

    listening_since: datetime
    observed_at: datetime
    allocations: Mapping[AllocationKey, AllocationNews] = field(default_factory=dict[AllocationKey, AllocationNews])
    pending_at: dict[AllocationKey, datetime] = field(default_factory=dict[AllocationKey, datetime])
    given_at: dict[AllocationKey, datetime] = field(default_factory=dict[AllocationKey, datetime])
    refusals: dict[AllocationKey, Refusal] = field(default_factory=dict[AllocationKey, Refusal])
    unanswered_at: datetime | None = None
    desired: Mapping[NodeKey, Desired] = field(default_factory=dict[NodeKey, Desired])
    is_published: bool = False


class Hub:
    def __init__(
        self, *, patience: Patience, listening_since: datetime, pools: Iterable[str] = (THIS_MACHINE,)
    ) -> None:
        self.patience = patience
        self.reached: Mapping[str, Reach] = {}  #: by replica, whether the gateway reaches it
        self.leaving: dict[RunKey, datetime] = {}  #: replicas that get no more requests, since when; then they end
        self.held_at: dict[tuple[str, str], datetime] = {}  #: by endpoint and deployment, when a request last waited
        self.probings: dict[tuple[RunKey, Kind], Probing] = {}  #: by replica, what its probes have found
        self.scaling: dict[str, Memory] = {}  #: by deployment's id, what its requests were lately
        self.traffic: Mapping[tuple[str, str], Traffic] = {}  #: by workspace/endpoint and deployment, since ever
        self.history = History()  #: what `traffic` was up to a minute ago
        self.loads: Mapping[RunKey, ReplicaLoad] = {}  #: by replica, what it said it has to do
        self.rollouts: Mapping[str, str] = {}  #: by id, what each waits for
        self.idleness: Mapping[ComputeId, Idleness] = {}  #: of instances that run: what keeps them up
        self.is_draining = False  #: the service is being stopped: nothing new is placed, and idle nodes go at once
        self.machines = 0  #: that an autoscaler of ours holds, or is starting
        self._pools = {name: _Pool(listening_since, listening_since) for name in pools}
        self._news: dict[NodeKey, NodeNews] = {}
        self._greeted_at: dict[NodeKey, datetime] = {}
        self._loads: dict[NodeKey, Mapping[str, Any]] = {}
        self._changed = Bell()

    def seen(self, pool: str) -> Seen:
        its = self._pools[pool]
        return Seen(
            listening_since=its.listening_since,
            nodes=dict(self._news),
            greeted_at=dict(self._greeted_at),
            allocations=its.allocations,
            pending_at=dict(its.pending_at),
            given_at=dict(its.given_at),
            refusals=dict(its.refusals),
            unanswered_at=its.unanswered_at,
            patience=self.patience,
            is_draining=self.is_draining,
        )

    def heard(self) -> Mapping[NodeKey, NodeNews]:
        """The last reports of all nodes."""
        return dict(self._news)

    def observed(self, pool: str, allocations: Mapping[AllocationKey, AllocationNews] | None, *, now: datetime) -> None:
        """What the pool's driver says; None: it does not answer.

        When one was last pending is kept as long as the driver knows it; since when it has machines, until it is seen
        without.
        """
        its = self._pools[pool]
        if allocations is None:
            its.unanswered_at, its.allocations = now, {}
            return
        its.observed_at, its.allocations = now, allocations
        kept = {key: at for key, at in its.pending_at.items() if key in allocations}
        its.pending_at = kept | {key: now for key, news in allocations.items() if news.state == "pending"}
        its.given_at = {
            key: its.given_at.get(key, now)
            for key, news in allocations.items()
            if news.state == "up" or (news.state == "unknown" and key in its.given_at)
        }

    def refused(self, pool: str, key: AllocationKey, words: str, *, now: datetime) -> None:
        """The pool's target has failed at something that it was asked about an allocation."""
        refusals = self._pools[pool].refusals
        before = refusals.get(key)
        refusals[key] = Refusal(words=words[:500], times=1 if before is None else before.times + 1, at=now)

    def agreed(self, pool: str, key: AllocationKey) -> None:
        """It has done what it was asked. (Each allocation comes to that at last, when it is forgotten.)"""
        self._pools[pool].refusals.pop(key, None)

    def observation(self, pool: str) -> tuple[datetime, Mapping[AllocationKey, AllocationNews]]:
        """What the pool's driver said last, and when that was."""
        its = self._pools[pool]
        return its.observed_at, its.allocations

    def withdraw(self, pool: str) -> None:
        """Say nothing of what its nodes shall run until it is published again."""
        self._pools[pool].is_published = False

    def listen_anew(self, pool: str, now: datetime) -> None:
        """From now on without a gap: each lease gets a full term.

        What was heard "later" than now was so on a clock that was set back since.
        """
        its = self._pools[pool]
        its.listening_since = now
        its.unanswered_at = min(its.unanswered_at, now) if its.unanswered_at is not None else None
        its.given_at = {key: min(at, now) for key, at in its.given_at.items()}
        self._news = {node: replace(news, heard_at=min(news.heard_at, now)) for node, news in self._news.items()}
        self._greeted_at = {node: min(at, now) for node, at in self._greeted_at.items()}

    def greet(self, node: NodeKey, *, now: datetime) -> None:
        """A node has said hello: from now on its silence counts, and not from when we began to listen."""
        self._greeted_at[node] = now

    def report(self, node: NodeKey, news: NodeNews, load: Mapping[str, Any], *, etag: str | None = None) -> bool:
        """Take a node's report, and which desired state it has seen.

        Whether anything in it changes what is to be done.
        """
        before, wanted = self._news.get(node), self._wanted(node)
        if wanted is not None and wanted.etag == etag:
            news = replace(news, unknown=frozenset(RunKey(key) for key in wanted.runs if key not in news.runs))
        self._news[node] = news
        self._loads[node] = load
        return before is None or _moving(before) != _moving(news)

    def is_ready(self, run: RunKey) -> bool:
        """Whether nothing is known that keeps a replica from being given requests."""
        probing = self.probings.get((run, Kind.READINESS))
        return run not in self.leaving and (probing is None or probing.is_well)

    def load(self, node: NodeKey) -> Mapping[str, Any]:
        return self._loads.get(node, {})

    def news(self, node: NodeKey) -> NodeNews | None:
        return self._news.get(node)

    def publish(self, pool: str, desired: Mapping[NodeKey, Mapping[str, Any]]) -> None:
        """Say what every node shall run. A node that was named before and is not any more is not ours any more."""
        its = self._pools[pool]
        new = {node: _same_or_new(its.desired.get(node), runs) for node, runs in desired.items()}
        is_changed = new != its.desired
        for node in its.desired.keys() - new.keys():
            self._news.pop(node, None)
            self._greeted_at.pop(node, None)
            self._loads.pop(node, None)
        its.desired, was_published, its.is_published = new, its.is_published, True
        if is_changed or not was_published:
            self._changed.ring()

    async def desired(self, node: NodeKey, *, etag: str, wait_s: float) -> Desired | None:
        """The desired state when it is not `etag`'s; None after `wait_s`.

        A server that has just begun answers nothing before its first turn.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        while (left_s := deadline - asyncio.get_running_loop().time()) > 0 or wait_s == 0:
            count = self._changed.count
            its = self._pool_of(node)
            if its is not None and its.is_published and its.desired[node].etag != etag:
                return its.desired[node]
            if wait_s == 0:
                return None
            await self._changed.after(count, timeout_s=left_s)
        return None

    def etag(self, node: NodeKey) -> str:
        now = self._wanted(node)
        return "" if now is None else now.etag

    def wants(self, node: NodeKey, run: RunKey) -> bool:
        now = self._wanted(node)
        return now is not None and run in now.runs

    def spec(self, node: NodeKey, run: RunKey) -> Mapping[str, Any] | None:
        """What was published of a run that is wanted there."""
        now = self._wanted(node)
        return None if now is None or run not in now.runs else now.runs[run].get("spec")

    def fences(self, node: NodeKey, run: RunKey) -> bool:
        """Whether a run must not be there (any more). Nobody is judged before the turn of who plans for the node."""
        its = self._pool_of(node)
        is_known = all(p.is_published for p in self._pools.values()) if its is None else its.is_published
        return is_known and not self.wants(node, run)

    def has_published(self, pool: str) -> bool:
        return self._pools[pool].is_published

    @property
    def pools(self) -> Sequence[str]:
        return tuple(self._pools)

    def _pool_of(self, node: NodeKey) -> _Pool | None:
        return next((pool for pool in self._pools.values() if node in pool.desired), None)

    def _wanted(self, node: NodeKey) -> Desired | None:
        its = self._pool_of(node)
        return None if its is None else its.desired[node]


def _same_or_new(before: Desired | None, runs: Mapping[str, Any]) -> Desired:
    if before is not None and before.runs == runs:  # quick: what has not changed is the same object
        return before
    now = Desired.of(runs)
    return before if before is not None and before.etag == now.etag else now


def _moving(news: NodeNews) -> object:
    """What of a report the loops act on: samples and loads change with every beat, and mean nothing to them."""
    runs = {
        key: (r.phase, r.progress, r.address, r.port, r.sockets, r.checkpoint, r.ended is not None)
        for key, r in news.runs.items()
    }
    return runs, news.unknown, news.ails

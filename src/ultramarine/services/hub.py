"""What is known of nodes right now, in memory: their last reports, and what they shall run.

Nothing here needs to survive: runners report their whole state at every beat, and what they shall run is rendered anew
from the store.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ultramarine.domain.names import AllocationKey, NodeKey, RunKey
from ultramarine.planning.seen import AllocationNews, NodeNews, Patience, Seen
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


class Hub:
    def __init__(self, *, patience: Patience, listening_since: datetime) -> None:
        self.patience = patience
        self.listening_since = listening_since
        self.allocations: Mapping[AllocationKey, AllocationNews] = {}
        self.reached: Mapping[str, Reach] = {}  #: by replica, whether the gateway reaches it
        self.is_draining = False  #: the service is being stopped: nothing new is placed, and idle nodes go at once
        self._news: dict[NodeKey, NodeNews] = {}
        self._loads: dict[NodeKey, Mapping[str, Any]] = {}
        self._desired: dict[NodeKey, Desired] = {}
        self._is_published = asyncio.Event()
        self._changed = Bell()

    def seen(self) -> Seen:
        return Seen(
            listening_since=self.listening_since,
            nodes=dict(self._news),
            allocations=self.allocations,
            patience=self.patience,
            is_draining=self.is_draining,
        )

    def withdraw(self) -> None:
        """Say nothing of what nodes shall run until it is published again."""
        self._is_published.clear()

    def listen_anew(self, now: datetime) -> None:
        """From now on without a gap: each lease gets a full term.

        What was heard "later" than now was so on a clock that was set back since.
        """
        self.listening_since = now
        self._news = {node: replace(news, heard_at=min(news.heard_at, now)) for node, news in self._news.items()}

    def report(self, node: NodeKey, news: NodeNews, load: Mapping[str, Any], *, etag: str | None = None) -> bool:
        """Take a node's report, and which desired state it has seen.

        Whether anything in it changes what is to be done.
        """
        before, wanted = self._news.get(node), self._desired.get(node)
        if wanted is not None and wanted.etag == etag:
            news = replace(news, unknown=frozenset(RunKey(key) for key in wanted.runs if key not in news.runs))
        self._news[node] = news
        self._loads[node] = load
        return before is None or _moving(before) != _moving(news)

    def load(self, node: NodeKey) -> Mapping[str, Any]:
        return self._loads.get(node, {})

    def news(self, node: NodeKey) -> NodeNews | None:
        return self._news.get(node)

    def publish(self, desired: Mapping[NodeKey, Mapping[str, Any]]) -> None:
        """Say what every node shall run. A node that was named before and is not any more is not ours any more."""
        new = {node: self._same_or_new(node, runs) for node, runs in desired.items()}
        is_changed = new != self._desired
        for node in self._desired.keys() - new.keys():
            self._news.pop(node, None)
            self._loads.pop(node, None)
        self._desired = new
        self._is_published.set()
        if is_changed:
            self._changed.ring()

    def _same_or_new(self, node: NodeKey, runs: Mapping[str, Any]) -> Desired:
        before = self._desired.get(node)
        if before is not None and before.runs == runs:  # quick: what has not changed is the same object
            return before
        now = Desired.of(runs)
        return before if before is not None and before.etag == now.etag else now

    async def desired(self, node: NodeKey, *, etag: str, wait_s: float) -> Desired | None:
        """The desired state when it is not `etag`'s; None after `wait_s`.

        A server that has just begun answers nothing before its first turn.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        while (left_s := deadline - asyncio.get_running_loop().time()) > 0 or wait_s == 0:
            count = self._changed.count
            now = self._desired.get(node)
            if self._is_published.is_set() and now is not None and now.etag != etag:
                return now
            if wait_s == 0:
                return None
            await self._changed.after(count, timeout_s=left_s)
        return None

    def etag(self, node: NodeKey) -> str:
        now = self._desired.get(node)
        return "" if now is None else now.etag

    def wants(self, node: NodeKey, run: RunKey) -> bool:
        now = self._desired.get(node)
        return now is not None and run in now.runs

    @property
    def has_published(self) -> bool:
        return self._is_published.is_set()


def _moving(news: NodeNews) -> object:
    """What of a report the loops act on: samples and loads change with every beat, and mean nothing to them."""
    runs = {
        key: (r.phase, r.progress, r.address, r.port, r.sockets, r.ended is not None) for key, r in news.runs.items()
    }
    return runs, news.unknown

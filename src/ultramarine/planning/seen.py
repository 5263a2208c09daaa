"""What was observed: reports of runners and observations of drivers.

No news is no event; only the lease turns long silence into a fact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Literal

from ultramarine.domain.names import AllocationKey, NodeKey, RunKey
from ultramarine.domain.run import Cause, RunReport

DIGITS = 16  #: of an environment's digest, as nodes tell it


class Silence(StrEnum):
    NONE = "none"
    NEW = "new"  #: no beat for a while: no new work there
    FINAL = "final"  #: lease and margin are over, or the target said that it ended


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNews:
    """A node's last accepted report."""

    heard_at: datetime
    runs: Mapping[RunKey, RunReport] = field(default_factory=dict[RunKey, RunReport])
    unknown: frozenset[RunKey] = frozenset()  #: it was told to have them, and does not: it has given them up before
    environments: frozenset[str] = frozenset()  #: that it has built, by the first `DIGITS` of their digests
    ails: str = ""  #: why it is no place for work for now, in its runner's words: its disk is full

    @property
    def is_broken(self) -> bool:
        """Half of its runner has died, as the other half still says before it goes: no place for the next attempt."""
        return any(report.ended is not None and report.ended.cause is Cause.RUNNER for report in self.runs.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationNews:
    """What a driver says of an allocation. `unknown` is what it says by default: absence is no word."""

    state: Literal["pending", "up", "ended", "unknown"]
    reason: str = ""


ASK_REST_S, ASK_REST_S_MAX = 0.5, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a target said when it was asked something about an allocation and failed, `times` in a row."""

    words: str
    times: int = 1
    at: datetime

    @property
    def again_at(self) -> datetime:
        """When it is asked again: ever more slowly."""
        return self.at + timedelta(seconds=min(ASK_REST_S_MAX, ASK_REST_S * 2.0 ** min(self.times - 1, 10)))

    def holds(self, now: datetime) -> bool:
        """Whether it is too early to ask again. A clock that was set back makes nobody wait."""
        return self.at <= now < self.again_at


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long silence may last, in seconds."""

    silent_after_s: float = 15
    lease_s: float = 300
    margin_s: float = 15
    start_s: float = 60  #: from asking a driver to the runner's hello
    beat_s: float = 5  #: between two reports of a runner
    grace_s: float = 10  #: between SIGTERM and SIGKILL

    @cached_property
    def silent_after(self) -> timedelta:
        return timedelta(seconds=self.silent_after_s)

    @cached_property
    def final_after(self) -> timedelta:
        return timedelta(seconds=self.lease_s + self.margin_s)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """`listening_since`: when this server began to listen without a gap; every lease gets a full term from then.

    `greeted_at`: when a node has said hello to it; the first report comes a moment later.
    `pending_at`: when the target last said of an allocation that it waits for machines there; `given_at`: since when
    it says that it has them; `unanswered_at`: when the target was last asked and did not answer, None where it always
    has.
    """

    listening_since: datetime
    nodes: Mapping[NodeKey, NodeNews] = field(default_factory=dict[NodeKey, NodeNews])
    greeted_at: Mapping[NodeKey, datetime] = field(default_factory=dict[NodeKey, datetime])
    allocations: Mapping[AllocationKey, AllocationNews] = field(default_factory=dict[AllocationKey, AllocationNews])
    pending_at: Mapping[AllocationKey, datetime] = field(default_factory=dict[AllocationKey, datetime])
    given_at: Mapping[AllocationKey, datetime] = field(default_factory=dict[AllocationKey, datetime])
    refusals: Mapping[AllocationKey, Refusal] = field(default_factory=dict[AllocationKey, Refusal])
    unanswered_at: datetime | None = None
    patience: Patience = Patience()
    is_draining: bool = False  #: the service is being stopped: nothing is placed or made, and idle nodes go at once

    def report(self, node: NodeKey, run: RunKey) -> RunReport | None:
        news = self.nodes.get(node)
        return None if news is None else news.runs.get(run)

    def has_given_up(self, node: NodeKey, run: RunKey) -> bool:
        """Its runner knows what it shall run, and that this run is over there: it will never tell how it ended."""
        news = self.nodes.get(node)
        return news is not None and run in news.unknown

    @cached_property
    def _ended(self) -> frozenset[AllocationKey]:
        return frozenset(key for key, news in self.allocations.items() if news.state == "ended")

    def has_ended(self, allocation: AllocationKey) -> bool:
        return allocation in self._ended

    def pending(self, allocation: AllocationKey) -> AllocationNews | None:
        """What the target says of one that waits for machines there."""
        news = self.allocations.get(allocation)
        return news if news is not None and news.state == "pending" else None

    def may_ask(self, allocation: AllocationKey, now: datetime) -> bool:
        """Whether its target may be asked something about it: it has not just failed."""
        refusal = self.refusals.get(allocation)
        return refusal is None or not refusal.holds(now)

    def silence(self, node: NodeKey, now: datetime) -> Silence:
        if self._ended and allocation_of(node) in self._ended:
            return Silence.FINAL
        news = self.nodes.get(node)
        heard_at = self.greeted_at.get(node, self.listening_since) if news is None else news.heard_at
        quiet = now - max(heard_at, self.listening_since)
        if quiet > self.patience.final_after:
            return Silence.FINAL
        return Silence.NEW if quiet > self.patience.silent_after else Silence.NONE

    def leases_are_over(self, now: datetime) -> bool:
        """We have listened for so long that no task lives of which we have not heard."""
        return now - self.listening_since > self.patience.final_after

    def is_usable(self, node: NodeKey, now: datetime) -> bool:
        """It was heard by this server, lately: work may be placed there."""
        news = self.nodes.get(node)
        is_well = news is not None and not news.is_broken and not news.ails
        return is_well and self.silence(node, now) is Silence.NONE

    def environments(self, node: NodeKey) -> frozenset[str]:
        """That it had built when it was last heard."""
        news = self.nodes.get(node)
        return frozenset() if news is None else news.environments

    def ails(self, node: NodeKey) -> str:
        """What its runner said last of why it takes no work."""
        news = self.nodes.get(node)
        return "" if news is None else news.ails


def allocation_of(node: NodeKey) -> AllocationKey:
    return AllocationKey(node.rpartition(".")[0])

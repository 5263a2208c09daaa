"""What the control plane knows at the beginning of a turn, and what follows from it about room."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from ultramarine.domain.allocation import HOLDS_ROOM, USABLE, Allocation, Node
from ultramarine.domain.compute import Compute
from ultramarine.domain.environment import EnvironmentStatus
from ultramarine.domain.host import Host
from ultramarine.domain.names import ComputeId, Epoch, NodeKey, RunKey, is_of
from ultramarine.domain.quota import Quota, Usage
from ultramarine.domain.run import ON_NODES, Run, RunStatus
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning.seen import Seen

START_REST_S_MAX = 60.0
FAILED_STARTS_S = 300.0  #: how long a failed start counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What stands between a queued run and its start besides room: its environment."""

    name: str
    status: EnvironmentStatus
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class State:
    """What is so at the beginning of a turn.

    `runs`: all open ones, in the order of the queue. `environments`: by run, where one is not ready or has failed.
    `wants`: by queued run, the environment that it starts sooner with where a node has it, as nodes tell of it.
    """

    epoch: Epoch
    runs: Sequence[Run]
    computes: Sequence[Compute]
    allocations: Sequence[Allocation]
    nodes: Sequence[Node]
    hosts: Sequence[Host]
    environments: Mapping[RunKey, Need] = field(default_factory=dict[RunKey, Need])
    wants: Mapping[RunKey, str] = field(default_factory=dict[RunKey, str])
    quotas: Mapping[str, Quota] = field(default_factory=dict[str, Quota])  #: by workspace, where one is set
    elsewhere: Mapping[str, Usage] = field(default_factory=dict[str, Usage])  #: held of quotas in other pools
    failed_starts: Sequence[Allocation] = ()  #: lately ended without having come up, the oldest first

    def with_runs(self, written: Iterable[Run]) -> "State":
        """The state once these runs were written: what has ended holds nothing any more, what is new comes last."""
        if not (new := {run.key: run for run in written}):
            return self
        there = [new.pop(run.key, run) for run in self.runs]
        return replace(self, runs=[run for run in (*there, *new.values()) if not run.is_final])

    @cached_property
    def compute_of(self) -> Mapping[ComputeId, Compute]:
        return {compute.id: compute for compute in self.computes}

    @cached_property
    def node_of(self) -> Mapping[NodeKey, Node]:
        return {node.key: node for node in self.nodes}

    @cached_property
    def allocations_of(self) -> Mapping[ComputeId, Sequence[Allocation]]:
        """By compute, those that are, or soon will be, a place for runs."""
        found: dict[ComputeId, list[Allocation]] = {compute.id: [] for compute in self.computes}
        for allocation in self.allocations:
            if allocation.status in USABLE and is_of(allocation.key, self.epoch):
                found.setdefault(allocation.compute, []).append(allocation)
        return found

    @cached_property
    def on_nodes(self) -> Sequence[Run]:
        """The open runs that were placed: beside a long queue, few."""
        queued = RunStatus.QUEUED
        return [run for run in self.runs if run.status is not queued and run.status in ON_NODES]

    @cached_property
    def placed(self) -> Mapping[NodeKey, Sequence[Run]]:
        """By node, the open runs that are on it."""
        found: dict[NodeKey, list[Run]] = {}
        for run in self.on_nodes:
            for node in run.nodes:
                found.setdefault(node, []).append(run)
        return found

    @cached_property
    def queued(self) -> Sequence[Run]:
        """Those that may be placed: one of before a restore is not."""
        queued, strangers = RunStatus.QUEUED, {run.key for run in self.of_before}
        return [run for run in self.runs if run.status is queued and not (strangers and run.key in strangers)]

    @cached_property
    def of_before(self) -> Sequence[Run]:
        """Those of before a restore."""
        prefix = f"{self.epoch}-"
        return [run for run in self.runs if not run.key.startswith(prefix)]

    def lingering(self, node: NodeKey, seen: Seen) -> bool:
        """Something lives there that is on its way out: a run that we have ended, but its runner not yet."""
        news = seen.nodes.get(node)
        if news is None or not news.runs:
            return False
        here = [run.key for run in self.placed.get(node, ())]
        return any(report.phase != "ended" and key not in here for key, report in news.runs.items())

    def taken(self, host: str) -> Amount:
        """What is promised of a host: the claims of its allocations, and of the runs on its elastic nodes."""
        total = Amount()
        for allocation in self.allocations:
            if allocation.host != host or allocation.status not in HOLDS_ROOM:
                continue
            total += allocation.claim
            if allocation.is_elastic:
                for run in self.placed.get(allocation.node, ()):
                    total += run.need or Amount()
        return total

    def gpus_held(self, host: str) -> frozenset[str]:
        """Which GPUs of a host its allocations have, and the runs on its elastic nodes."""
        there = [a for a in self.allocations if a.host == host and a.status in HOLDS_ROOM]
        of_runs = (
            gpu
            for allocation in there
            if allocation.is_elastic
            for run in self.placed.get(allocation.node, ())
            for gpu in run.gpu_ids.get(allocation.node, ())
        )
        return frozenset([*(gpu for allocation in there for gpu in allocation.gpu_ids), *of_runs])

    def held(self) -> dict[str, Usage]:
        """By workspace, what counts against its quota: nodes of clusters, and what runs take of the machine itself."""
        found: dict[str, Usage] = defaultdict(Usage, self.elsewhere)
        for a in self.allocations:
            if a.status in HOLDS_ROOM and not a.is_elastic:
                found[a.workspace] += Usage.of(a.claim, nodes=1)
            for run in self.placed.get(a.node, ()) if a.is_elastic else ():
                found[run.workspace] += Usage.of(run.need or NOTHING)
        return found

    def resting_until(self, compute: ComputeId, now: datetime) -> tuple[datetime, str] | None:
        """Until when no new node of a compute is started, since its last ones failed to start, and why they did."""
        ours = (a for a in self.failed_starts if is_of(a.key, self.epoch))
        failed = [a for a in ours if a.compute == compute and a.changed_at <= now]
        if not failed:
            return None
        rest_s = min(START_REST_S_MAX, 2.0 ** (len(failed) - 1))
        return failed[-1].changed_at + timedelta(seconds=rest_s), failed[-1].reason

    def is_idle(self, allocation: Allocation, seen: Seen) -> bool:
        return not self.placed.get(allocation.node) and not self.lingering(allocation.node, seen)

    def idle_since(self, allocation: Allocation) -> datetime:
        node = self.node_of.get(allocation.node)
        return allocation.changed_at if node is None else node.used_at

"""Which queued runs get nodes now, in the order of the queue; what those that don't are waiting for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ultramarine.domain.allocation import AllocationStatus, Node
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.environment import EnvironmentStatus
from ultramarine.domain.host import Host
from ultramarine.domain.names import ComputeId, NodeKey, RunKey
from ultramarine.domain.run import Cause, Ending, Master, Run, RunEvent
from ultramarine.domain.size import Amount
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State


@dataclass(slots=True)
class Room:
    """What is left to give in this turn. It is used up as the turn goes on.

    `used_nodes`, `used_hosts`: the copies that the turn's decisions rest on.
    """

    state: State
    seen: Seen
    now: datetime
    free: dict[ComputeId, list[Node]] = field(default_factory=dict[ComputeId, list[Node]])
    host_of: dict[str, Host] = field(default_factory=dict[str, Host])
    host_free: dict[str, Amount] = field(default_factory=dict[str, Amount])
    gpus_free: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    waiting: dict[ComputeId, list[Run]] = field(default_factory=dict[ComputeId, list[Run]])
    line: list[Run] = field(default_factory=list[Run])  #: those that wait for nodes or room, in the order of the queue
    granted: Counter[ComputeId] = field(default_factory=Counter[ComputeId])  #: nodes that waiting runs may keep or make
    pressed: set[str] = field(default_factory=set[str])  #: hosts on whose room somebody waits
    used_nodes: dict[NodeKey, Node] = field(default_factory=dict[NodeKey, Node])
    used_hosts: dict[str, Host] = field(default_factory=dict[str, Host])
    reasons: dict[RunKey, str] = field(default_factory=dict[RunKey, str])

    @classmethod
    def at(cls, state: State, seen: Seen, now: datetime) -> "Room":
        room = cls(state, seen, now)
        for host in state.hosts:
            room.host_of[host.name] = host
            room.host_free[host.name] = host.total - state.taken(host.name)
            room.gpus_free[host.name] = [gpu for gpu in host.gpu_ids if gpu not in state.gpus_held(host.name)]
        for allocation in state.allocations:
            node = state.node_of.get(allocation.node)
            if allocation.status is not AllocationStatus.UP or node is None or not seen.is_usable(node.key, now):
                continue
            if allocation.is_elastic or state.is_idle(allocation, seen):
                room.free.setdefault(allocation.compute, []).append(node)
        return room

    def claim(self, host: str, amount: Amount) -> bool:
        """Take `amount` of a host, or note that somebody waits for it."""
        if not amount.fits_in(self.host_free[host]):
            self.pressed.add(host)
            return False
        self.host_free[host] -= amount
        self.used_hosts[host] = self.host_of[host]
        return True

    def use(self, key: NodeKey) -> None:
        """Decide something on this copy of a node: what somebody else decides on the same copy is refused."""
        if (node := self.state.node_of.get(key)) is not None:
            self.used_nodes[key] = node

    def take_gpus(self, host: str, count: int) -> tuple[str, ...]:
        """Which ones, of those that nobody holds; that there are so many was claimed before."""
        taken, self.gpus_free[host] = self.gpus_free[host][:count], self.gpus_free[host][count:]
        return tuple(taken)

    def full(self, compute: Compute, amount: Amount) -> str:
        """Why there is no room for `amount` on a compute's host, with who has it."""
        host = self.host_of[compute.host]
        held: dict[str, int] = {}
        for allocation in self.state.allocations:
            if allocation.host == host.name and allocation.claim != Amount():
                held[allocation.compute_name] = held.get(allocation.compute_name, 0) + 1
        holders = ", ".join(f"{name} ({n} node{'s' * (n > 1)})" for name, n in sorted(held.items()))
        by = f"; nodes of {holders} hold most of it" if holders else ""
        left = f"{self.host_free[host.name]} left of {host.total}"
        return f"Needs {amount} and this machine has {left}{by}. It starts when that much is free."


def place(room: Room) -> Iterator[RecordRun]:
    """Gangs get all their nodes or none; who waits for nodes of a compute is not passed there by those behind."""
    for run in room.state.queued:
        compute = room.state.compute_of.get(run.compute)
        if (never := _impossible(room, run, compute)) is not None:
            yield never
            continue
        assert compute is not None, "a run without a compute is impossible"
        if (need := room.state.environments.get(run.key)) is not None:
            room.reasons[run.key] = f"Environment {need.name} is being resolved."
            continue
        nodes = _elastic(room, run, compute) if compute.is_elastic else _whole_nodes(room, run, compute)
        if nodes is None:
            room.waiting.setdefault(compute.id, []).append(run)
            room.line.append(run)
            continue
        room.used_nodes |= {node.key: node for node in nodes}
        changes = {"nodes": tuple(node.key for node in nodes)}
        where = f"node {nodes[0].key}" if len(nodes) == 1 else f"{len(nodes)} nodes of {compute.name}"
        alone = {"master": Master(address="127.0.0.1", port=0)} if len(nodes) == 1 else {}
        yield RecordRun(run=run, event=RunEvent.PLACED, reason=f"Placed on {where}.", changes=changes | alone)


def _impossible(room: Room, run: Run, compute: Compute | None) -> RecordRun | None:
    need = room.state.environments.get(run.key)
    if compute is None or compute.status is not ComputeStatus.SUCCEEDED:
        words = "Its compute was deleted."
    elif run.instance_count > compute.max_instances:
        words = (
            f"It needs {run.instance_count} nodes, and {compute.name} has max_instances {compute.max_instances} now."
        )
    elif need is not None and need.status is EnvironmentStatus.FAILED:
        words = f"Environment {need.name}: {need.reason}"
    else:
        return None
    cause = Cause.ENVIRONMENT if words.startswith("Environment") else Cause.IMPOSSIBLE
    return RecordRun(
        run=run, event=RunEvent.IMPOSSIBLE, reason=words, changes={"ending": Ending(cause=cause, words=words)}
    )


def _elastic(room: Room, run: Run, compute: Compute) -> list[Node] | None:
    """A part of the machine, claimed from its host."""
    need = run.need or compute.size
    if not (nodes := room.free.get(compute.id)):
        room.reasons[run.key] = f"The runner of {compute.name} is starting."
        return None
    if not room.claim(compute.host, need):
        room.reasons[run.key] = room.full(compute, need)
        return None
    return nodes[:1]


def _whole_nodes(room: Room, run: Run, compute: Compute) -> list[Node] | None:
    free = room.free.get(compute.id, [])
    ahead = room.waiting.get(compute.id, [])
    if ahead:
        # Its place is not said here: it changes with every start, and would be written to every row behind.
        room.reasons[run.key] = f"In the queue of {compute.name}, behind others."
        return None
    if len(free) < run.instance_count:
        starting = sum(1 for a in room.state.allocations_of[compute.id] if a.status is not AllocationStatus.UP)
        nodes = f"{run.instance_count} node{'s' * (run.instance_count > 1)} of {compute.name}"
        there = f"{len(free)} free, {starting} starting, at most {compute.max_instances}"
        room.reasons[run.key] = f"Waits for {nodes}: {there}."
        return None
    room.free[compute.id] = free[run.instance_count :]
    return free[: run.instance_count]

"""What there is to give in one turn: nodes, there or on their way, and what is left of the machines under them.

It is used up as the turn goes through the queue. A run that cannot be seated where it waits first of all *reserves*:
what it needs of a machine or of nodes, and by when that is free at the latest. Those behind may take what it does not
need, or what they give back before then.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ultramarine.domain.allocation import HOLDS_ROOM, Allocation, AllocationEvent, AllocationStatus, Node
from ultramarine.domain.compute import Compute
from ultramarine.domain.host import Host
from ultramarine.domain.names import AllocationKey, ComputeId, NodeKey, RunKey
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import Mode, Run
from ultramarine.domain.size import NOTHING, Amount
from ultramarine.planning.actions import RecordAllocation, Why
from ultramarine.planning.seen import Seen, Silence
from ultramarine.planning.state import State

LOOKED_AT = 64  #: nodes that would do as well, to find one among them that has an environment
FULL_MAX = 64  #: full nodes that are passed over again and again before they are sorted out


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Held for the first that waits. `at`: when it can begin at the latest; None: nobody knows."""

    run: Run
    amount: Amount
    at: datetime | None

    def lets_pass(self, amount: Amount, free: Amount, until: datetime | None) -> bool:
        """Whether a run behind may have `amount` of `free`: it is not needed, or given back (`until`) in time."""
        if amount.fits_in(free.beyond(self.amount)):
            return True
        return self.at is not None and until is not None and until <= self.at


@dataclass(slots=True, kw_only=True)
class Slot:
    """A node of a compute, and what is still to give of it.

    `is_ready`: it takes work now. `is_starting`: it will, when its runner has been heard. A node that is neither is
    silent, or something lives there that is on its way out. `is_given`: this turn counts on it.
    """

    allocation: Allocation
    free: Amount
    holders: Sequence[Run] = ()
    environments: frozenset[str] = frozenset()  #: that are built there
    gpus: list[str] = field(default_factory=list[str])  #: those that no run on it has
    is_ready: bool = False
    is_starting: bool = False
    is_given: bool = False
    given: list[Run] = field(default_factory=list[Run])  #: the runs that this turn gives it to
    reserved: Reservation | None = None
    is_full: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_full = not self.allocation.is_elastic and self.free == NOTHING

    @property
    def key(self) -> NodeKey:
        return self.allocation.node

    @property
    def is_empty(self) -> bool:
        return not self.holders and not self.is_given

    def has_room_for(self, need: Amount | None) -> bool:
        """`need`: a part of it, or None: all of it."""
        if need is None:
            return self.is_empty
        return self.allocation.is_elastic or need.fits_in(self.free)

    def is_open_to(self, need: Amount | None, until: datetime | None) -> bool:
        """Whether a reservation leaves it to a run that ends by `until`."""
        return self.reserved is None or self.reserved.lets_pass(need or self.allocation.capacity, self.free, until)

    def replicas_of(self, owner: str) -> int:
        """How many runs of one owner are here, or will be."""
        return sum(run.owner_id == owner for run in (*self.holders, *self.given))

    def gpus_for(self, need: Amount) -> tuple[str, ...]:
        taken, self.gpus = self.gpus[: need.gpus], self.gpus[need.gpus :]
        return tuple(taken)

    def give(self, run: Run) -> None:
        self.is_given = True
        self.given.append(run)
        if not self.allocation.is_elastic:
            self.free = NOTHING if run.need is None else self.free - run.need
            self.is_full = self.free == NOTHING


@dataclass(slots=True)
class HostRoom:
    """A machine. `coming`: what is about to be free, since its nodes are on their way out or its runs end.

    `ails`: why no other node of it would do better than those that are there. `first`: the gang that keeps what it has
    of a target without room for all of it.
    """

    host: Host
    free: Amount
    gpus: list[str]
    coming: Amount = field(default=NOTHING)
    reserved: Reservation | None = None
    ails: str = ""
    first: Run | None = None

    def admits(self, amount: Amount, until: datetime | None) -> bool:
        if not amount.fits_in(self.free):
            return False
        return self.reserved is None or self.reserved.lets_pass(amount, self.free, until)

    def take(self, amount: Amount) -> tuple[str, ...]:
        """Which GPUs come with it."""
        assert amount.fits_in(self.free), f"{amount} of {self.free}"
        if not self.host.is_bounded:
            return tuple(f"#{n}" for n in range(amount.gpus))  # its first, second …: which those are its node knows
        self.free -= amount
        taken, self.gpus = self.gpus[: amount.gpus], self.gpus[amount.gpus :]
        return tuple(taken)


Shape = tuple[Amount | None, int, int | None]  #: what a run asks of its nodes, of how many, and for how long


@dataclass(slots=True)
class Lane:
    """One compute's nodes, and who waits for them.

    `open`: those that are not known to be full, in the order in which they are given: those that are ready before
    those that start, the fullest first, so that whole nodes stay whole. `refused`: what was asked in vain, and what is
    said to who asks the same again: there is ever less in a turn.
    """

    compute: Compute
    slots: list[Slot]
    first: Run | None = None  #: who waits at the head of it
    open: list[Slot] = field(init=False)
    refused: dict[Shape, Why] = field(default_factory=dict[Shape, "Why"])

    def __post_init__(self) -> None:
        usable = (slot for slot in self.slots if (slot.is_ready or slot.is_starting) and not slot.is_full)
        self.open = sorted(usable, key=_in_turn)

    def free_for(self, run: Run, until: datetime | None, *, wants: str = "") -> list[Slot]:
        """Nodes that take it, at most `run.instance_count`: those that have the environment it `wants` rather.

        Replicas are spread before that: one node that is lost shall take as few of a deployment with it as can be.
        """
        likes: dict[NodeKey, int] = {}
        if run.mode is Mode.SERVICE:
            able = self._able(run, until, most=len(self.open))
            likes = {slot.key: slot.replicas_of(run.owner_id) for slot in able}
        else:
            able = self._able(run, until, most=run.instance_count + (LOOKED_AT if wants else 0))
        if wants or likes:
            able.sort(key=lambda slot: (not slot.is_ready, likes.get(slot.key, 0), wants not in slot.environments))
        return able[: run.instance_count]

    def _able(self, run: Run, until: datetime | None, *, most: int) -> list[Slot]:
        found: list[Slot] = []
        full = 0
        for slot in self.open:
            full += slot.is_full
            if slot.has_room_for(run.need) and slot.is_open_to(run.need, until):
                found.append(slot)
                if len(found) == most:
                    break
        if full > FULL_MAX:
            self.open = [slot for slot in self.open if not slot.is_full]
        return found

    def remove(self, slot: Slot) -> None:
        """It is on its way out: nobody may count on it any more."""
        self.slots = [each for each in self.slots if each is not slot]
        self.open = [each for each in self.open if each is not slot]

    def add(self, slot: Slot) -> None:
        self.slots.append(slot)
        self.open.append(slot)
        self.refused.clear()

    def room_to_grow(self) -> int:
        """How many nodes it may still have."""
        return max(0, self.compute.max_instances - len(self.slots))


def _in_turn(slot: Slot) -> tuple[object, ...]:
    return (not slot.is_ready, slot.free.cpus_milli, slot.free.memory_bytes, slot.free.gpus)


def _left(allocation: Allocation, holders: Sequence[Run]) -> Amount:
    """What of a node these have not."""
    if not holders:
        return allocation.capacity
    if any(run.need is None for run in holders):
        return NOTHING
    return allocation.capacity.beyond(sum((run.need or NOTHING for run in holders), NOTHING))


def _gpus_left(allocation: Allocation, node: NodeKey, holders: Sequence[Run]) -> list[str]:
    if not allocation.gpu_ids:
        return []
    taken = {gpu for run in holders for gpu in run.gpu_ids.get(node, ())}
    return [gpu for gpu in allocation.gpu_ids if gpu not in taken]


def _services(lane: Lane) -> Amount:
    """What replicas hold of the machine itself."""
    holders = (run for slot in lane.slots for run in slot.holders) if lane.compute.is_elastic else ()
    return sum((run.need or NOTHING for run in holders if run.mode is Mode.SERVICE), NOTHING)


def _minimum(compute: Compute) -> Amount:
    return compute.claim * compute.min_instances


@dataclass(slots=True)
class Room:
    """All of it. `used_nodes`, `used_hosts`: the copies that the turn's decisions rest on."""

    state: State
    seen: Seen
    now: datetime
    lanes: dict[ComputeId, Lane] = field(default_factory=dict[ComputeId, Lane])
    hosts: dict[str, HostRoom] = field(default_factory=dict[str, HostRoom])
    held: dict[str, Usage] = field(default_factory=dict[str, Usage])  #: by workspace, what it has of its quota
    leaving: dict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))  #: of that, what is given back soon
    over_quota: dict[str, Run] = field(default_factory=dict[str, Run])  #: by workspace, the first that waits for it
    keeps: dict[str, Amount] = field(default_factory=lambda: defaultdict(Amount))  #: by host, as it is first asked for
    used_nodes: dict[NodeKey, Node] = field(default_factory=dict[NodeKey, Node])
    used_hosts: dict[str, Host] = field(default_factory=dict[str, Host])
    reasons: dict[RunKey, Why] = field(default_factory=dict[RunKey, Why])
    drained: dict[AllocationKey, str] = field(default_factory=dict[AllocationKey, str])  #: in this turn, and why

    @classmethod
    def at(cls, state: State, seen: Seen, now: datetime) -> "Room":
        room = cls(state, seen, now)
        for host in state.hosts:
            held = state.gpus_held(host.name)
            free = host.total - state.taken(host.name)
            room.hosts[host.name] = HostRoom(host, free, [gpu for gpu in host.gpu_ids if gpu not in held])
        for compute in state.computes:
            room.lanes[compute.id] = Lane(compute, [room._slot(a) for a in state.allocations_of[compute.id]])
        for allocation in state.allocations:
            if (coming := room._coming(allocation)) != NOTHING:
                room.gives_back(allocation, coming)
            if (ails := seen.ails(allocation.node)) and room.hosts[allocation.host].host.is_bounded:
                room.hosts[allocation.host].ails = ails
        room.held = state.held()
        return room

    def _slot(self, allocation: Allocation) -> Slot:
        node = allocation.node
        holders = self.state.placed.get(node, ())
        return Slot(
            allocation=allocation,
            free=_left(allocation, holders),
            holders=holders,
            environments=self.seen.environments(node),
            gpus=_gpus_left(allocation, node, holders),
            is_ready=self._is_ready(allocation, node),
            is_starting=allocation.status is not AllocationStatus.UP or (not holders and self._is_unheard(node)),
        )

    def _is_unheard(self, node: NodeKey) -> bool:
        """It has said hello, or this server is new; its first report is due, and a node more would be one too many."""
        return node not in self.seen.nodes and self.seen.silence(node, self.now) is Silence.NONE

    def _is_ready(self, allocation: Allocation, node: NodeKey) -> bool:
        if allocation.status is not AllocationStatus.UP or node not in self.state.node_of:
            return False
        if not self.seen.is_usable(node, self.now):
            return False
        return allocation.is_elastic or not self.state.lingering(node, self.seen)

    def _coming(self, allocation: Allocation) -> Amount:
        """What of a host is given back soon, without anything more being decided."""
        if allocation.status not in HOLDS_ROOM:
            return NOTHING
        holders = self.state.placed.get(allocation.node, ())
        if allocation.is_elastic:
            return sum((run.need or NOTHING for run in holders if run.is_being_stopped), NOTHING)
        is_going = allocation.status in (AllocationStatus.DRAINING, AllocationStatus.RELEASING)
        is_coming = (is_going or holders) and all(run.is_being_stopped for run in holders)
        return allocation.claim if is_coming else NOTHING

    def gives_back(self, allocation: Allocation, amount: Amount) -> None:
        self.hosts[allocation.host].coming += amount
        self.leaving[allocation.workspace] += Usage.of(amount, nodes=0 if allocation.is_elastic else 1)

    def says(self, run: Run, words: str, unblocks: str = "") -> None:
        self.reasons[run.key] = Why(words=words, unblocks=unblocks)

    def claim(self, host: str, amount: Amount) -> tuple[str, ...]:
        """Take it, on this copy of the host: what somebody else takes of the same copy is refused."""
        room = self.hosts[host]
        self.used_hosts[host] = room.host
        return room.take(amount)

    def use(self, keys: Iterable[NodeKey]) -> None:
        """Decide something on these copies of nodes: what somebody else decides on the same copies is refused."""
        for key in keys:
            if (node := self.state.node_of.get(key)) is not None:
                self.used_nodes[key] = node

    def kept(self, host: HostRoom, compute: Compute) -> Amount:
        """What of a host no end of a job gives back: replicas, and the minimum of other clusters."""
        if not self.keeps:
            for lane in self.lanes.values():
                self.keeps[lane.compute.host] += _services(lane) + _minimum(lane.compute)
        return self.keeps[host.host.name] - _minimum(compute)

    def drain(
        self, allocation: Allocation, reason: str, *, event: AllocationEvent = AllocationEvent.DRAIN_ASKED
    ) -> RecordAllocation:
        """Behind a fence: a node that somebody else has just given work stays."""
        self.use([allocation.node])
        self.drained[allocation.key] = reason
        return RecordAllocation(allocation=allocation, event=event, reason=reason)

    def full(self, host: str, amount: Amount) -> str:
        """Why there is no room for `amount` on a host, with who has it."""
        room = self.hosts[host]
        held: dict[str, int] = {}
        for allocation in self.state.allocations:
            if allocation.host == host and allocation.claim != NOTHING:
                held[allocation.compute_name] = held.get(allocation.compute_name, 0) + 1
        holders = ", ".join(f"{name} ({n} node{'s' * (n > 1)})" for name, n in sorted(held.items()))
        by = f"; nodes of {holders} hold most of it" if holders else ""
        left = f"{room.free} left of {room.host.total}"
        return f"Needs {amount} and {room.host.words} has {left}{by}."

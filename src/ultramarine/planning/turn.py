"""One turn of the scheduler, as a pure function of what is known and what was seen."""

from dataclasses import dataclass
from datetime import datetime

from ultramarine.domain.allocation import Node
from ultramarine.domain.names import RunKey
from ultramarine.domain.run import RUN, RunStatus
from ultramarine.planning import allocations, growth, placement, runs
from ultramarine.planning.actions import AddAllocation, Plan, Record, RecordAllocation, RecordRun
from ultramarine.planning.room import Room
from ultramarine.planning.seen import Seen
from ultramarine.planning.state import State


@dataclass(frozen=True, slots=True)
class Turn:
    """What was decided, and what was left to give afterwards."""

    room: Room
    records: list[Record]
    followed: list[RecordRun]


def plan(state: State, seen: Seen, now: datetime) -> Plan:
    """Follow what is on nodes, place what waits, grow, shrink; with the reasons of what waits.

    What has ended makes room for what waits in the same turn. A row is recorded at most once a turn: of two records
    for one thing the first is kept, the other comes next turn.
    """
    turn = go_through(state, seen, now)
    room = turn.room
    return Plan(
        records=tuple(_once(turn.records)),
        effects=tuple(allocations.effects(room)),
        nodes=tuple(room.used_nodes.values()) + _touched(turn.followed, room),
        hosts=tuple(room.used_hosts.values()),
        reasons=_reworded(room) | runs.progress(room.state.on_nodes, seen),
        checkpoints=runs.checkpoints(room.state.on_nodes, seen),
    )


def go_through(state: State, seen: Seen, now: datetime) -> Turn:
    there = {run.key for run in state.on_nodes} if state.of_before else set[RunKey]()
    followed = [
        record
        for run in (*state.on_nodes, *(run for run in state.of_before if run.key not in there))
        if (record := runs.follow(run, seen, now, epoch=state.epoch))
    ]
    state = state.with_runs(run for record in followed for run in record.runs(now))
    room = Room.at(state, seen, now)
    for run in state.of_before:
        if run.status is RunStatus.QUEUED:
            room.says(run, runs.waits_after_restore(seen))
    records: list[Record] = [*followed, *allocations.empty(room), *allocations.follow(room)]
    records += allocations.come_down(room)
    if not seen.is_draining:
        records += [*placement.place(room), *growth.up_to_minimum(room)]
    records += allocations.shrink(room)
    return Turn(room, records, followed)


def _reworded(room: Room) -> dict[RunKey, str]:
    """Why runs wait, where that has changed."""
    said = room.reasons
    return {
        run.key: why.words
        for run in room.state.runs
        if (why := said.get(run.key)) is not None and why.words != run.reason
    }


def _touched(followed: list[RecordRun], room: Room) -> tuple[Node, ...]:
    """Nodes whose run has ended: their idle time begins now."""
    ended = {
        node
        for record in followed
        if RUN.next(record.run.status, record.event) in RUN.final
        for node in record.run.nodes
    }
    return tuple(
        room.state.node_of[node] for node in ended if node in room.state.node_of and node not in room.used_nodes
    )


def _once(records: list[Record]) -> list[Record]:
    kept: dict[str, Record] = {}
    for record in records:
        kept.setdefault(_name(record), record)
    return list(kept.values())


def _name(record: Record) -> str:
    match record:
        case RecordRun():
            return f"run {record.run.key}"
        case AddAllocation() | RecordAllocation():
            return f"allocation {record.allocation.key}"
        case _:
            return f"compute {record.compute.id}"

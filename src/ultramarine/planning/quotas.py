"""What a workspace may hold at once: nodes, CPUs, GPUs. Its own work waits for its quota, and holds up no other's."""

from ultramarine.domain.compute import Compute
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import Run
from ultramarine.domain.size import Amount
from ultramarine.planning.room import Room


def exceeded(room: Room, compute: Compute, claim: Amount, *, nodes: int, run: Run | None = None) -> str | None:
    """Why a workspace may not take so much more now, or None. The first run that waits for a quota is not passed."""
    quota = room.state.quotas.get(compute.workspace)
    if quota is None or (wanted := usage_of(compute, claim, nodes=nodes)) == Usage():
        return None
    first = room.over_quota.get(compute.workspace)
    if first is not None and first is not run:
        return f"Behind {first.owner_name}, which waits for the quota of workspace {compute.workspace}."
    if (over := quota.exceeded(room.held[compute.workspace], wanted)) is None:
        return None
    if run is not None:
        room.over_quota[compute.workspace] = run
    return f"Workspace {compute.workspace}: {over}"


def short(room: Room, compute: Compute, claim: Amount, *, nodes: int) -> Usage:
    """What a workspace has to give back before it may take so much more, beside what it is giving back already."""
    quota = room.state.quotas.get(compute.workspace)
    if quota is None:
        return Usage()
    after = room.held[compute.workspace].beyond(room.leaving[compute.workspace])
    return quota.short(after + usage_of(compute, claim, nodes=nodes))


def count(room: Room, compute: Compute, claim: Amount, *, nodes: int) -> None:
    room.held[compute.workspace] += usage_of(compute, claim, nodes=nodes)


def usage_of(compute: Compute, claim: Amount, *, nodes: int) -> Usage:
    """The machine itself (`local`) is no node: only what runs take of it counts."""
    return Usage.of(claim, nodes=0 if compute.is_elastic else nodes)

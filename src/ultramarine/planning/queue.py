"""The order of the queue: tier, priority, fair share between users, age.

Within one tier and priority the next run is always that of the user who has least: what their placed runs hold plus
what stands before in the queue, each as its dominant share of the machines (Ghodsi et al., "Dominant Resource
Fairness", NSDI 2011). Of one user's runs, and between users who have the same, the older goes first.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter

from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import Run
from ultramarine.domain.size import Amount
from ultramarine.planning.state import State

_AGE = attrgetter("asked_at", "key")
Cost = Callable[[Run], float]  #: what a run takes, as a share of all machines: 0 to 1, or more where it never fits


def in_order(state: State) -> Sequence[Run]:
    """All queued runs, the first in line first."""
    cost = _cost(state)
    return ordered(state.queued, shares(state.on_nodes, cost), cost)


def ordered(queued: Iterable[Run], held: Mapping[str, float], cost: Cost) -> Sequence[Run]:
    """`held`: by user, the share that their placed runs have."""
    bands: dict[tuple[int, int], list[Run]] = {}
    last, band = None, list[Run]()
    for run in queued:
        if last is None or run.tier is not last.tier or run.priority != last.priority:  # seldom: one look-up for many
            band = bands.setdefault((-run.tier.rank, -run.priority), [])
        band.append(run)
        last = run
    found: list[Run] = []
    for name in sorted(bands):
        found += _fairly(sorted(bands[name], key=_AGE), held, cost)
    return found


def _fairly(band: Sequence[Run], held: Mapping[str, float], cost: Cost) -> Sequence[Run]:
    """Runs of one tier and priority, given the oldest first."""
    if len({run.user for run in band}) == 1:
        return band
    of_user: dict[str, list[int]] = {}
    for index, run in enumerate(band):
        of_user.setdefault(run.user, []).append(index)
    line = [(held.get(user, 0.0), indices[0], user, 0) for user, indices in of_user.items()]
    heapq.heapify(line)
    found: list[Run] = []
    while line:
        share, index, user, taken = line[0]
        found.append(band[index])
        rest = of_user[user]
        if taken + 1 == len(rest):
            heapq.heappop(line)
        else:
            heapq.heapreplace(line, (share + cost(band[index]), rest[taken + 1], user, taken + 1))
    return found


def shares(placed: Iterable[Run], cost: Cost) -> dict[str, float]:
    """What each user's placed runs hold."""
    held: dict[str, float] = {}
    for run in placed:
        held[run.user] = held.get(run.user, 0.0) + cost(run)
    return held


def _cost(state: State) -> Cost:
    total = sum((host.total for host in state.hosts), Amount())
    known: dict[tuple[ComputeId, Amount | None], float] = {}

    def cost(run: Run) -> float:
        name = (run.compute, run.need)
        if name not in known:
            compute = state.compute_of.get(run.compute)
            known[name] = 0.0 if compute is None else (run.need or compute.size).share_of(total)
        return run.instance_count * known[name]

    return cost

"""The loop that tells the autoscaler of a Ray of our own which clusters there are."""

from collections import defaultdict

from ultramarine.domain.allocation import AllocationStatus
from ultramarine.domain.names import ComputeId
from ultramarine.drivers.ray import Autoscaling, machines
from ultramarine.services.context import Context
from ultramarine.store import allocations, computes


class FleetLoop:
    def __init__(self, ctx: Context, autoscaling: Autoscaling, *, pool: str) -> None:
        self._ctx, self._autoscaling, self._pool = ctx, autoscaling, pool

    async def tick(self) -> None:
        hub = self._ctx.hub
        async with self._ctx.read() as tx:
            clusters = await computes.of_pool(tx, self._pool)
            open_ones = await allocations.open_ones(tx, self._pool)
        held: dict[ComputeId, list[AllocationStatus]] = defaultdict(list)
        for each in open_ones:
            held[each.compute].append(each.status)
        said, is_draining = self._autoscaling.said(), hub.is_draining
        wanted = {
            one.id: (one, machines(one, held[one.id], there=said.there(one.id), is_draining=is_draining))
            for one in clusters
        }
        await self._autoscaling.bring(wanted, said)
        hub.machines = said.machines

"""The loop that publishes the route table: at once when anything in it changes."""

from collections.abc import Sequence

from ultramarine.domain.names import is_of
from ultramarine.domain.run import Run
from ultramarine.planning.routes import Upstreams, render
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import elsewhere
from ultramarine.services.context import Context
from ultramarine.store import endpoints, runs


class RouteLoop:
    def __init__(self, ctx: Context, publisher: RoutePublisher, upstreams: Upstreams) -> None:
        self._ctx, self._publisher, self._upstreams = ctx, publisher, upstreams

    async def tick(self) -> None:
        count = self._ctx.serving.count
        async with self._ctx.read() as tx:
            there = await endpoints.every(tx)
            deployments = await endpoints.deployments(tx)
            open_ones: Sequence[Run] = await runs.open_replicas(tx) if deployments else []
            trust = await elsewhere.trust(self._ctx, tx, open_ones)
        # One of before a restore may still listen somewhere: it is not ours any more.
        of_ours = (run for run in open_ones if is_of(run.key, self._ctx.site.epoch))
        replicas = [run for run in of_ours if self._ctx.hub.is_ready(run.key)]
        await self._publisher.publish(render(self._upstreams, there, deployments, replicas=replicas, trust=trust))
        self._ctx.routed.until(count)

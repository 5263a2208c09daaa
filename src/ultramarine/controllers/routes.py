"""The loop that publishes the route table: at once when anything in it changes."""

from ultramarine.domain.run import OwnerNoun
from ultramarine.planning.routes import Upstreams, render
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services.context import Context
from ultramarine.store import endpoints, runs


class RouteLoop:
    def __init__(self, ctx: Context, publisher: RoutePublisher, upstreams: Upstreams) -> None:
        self._ctx, self._publisher, self._upstreams = ctx, publisher, upstreams

    async def tick(self) -> None:
        async with self._ctx.read() as tx:
            there = await endpoints.every(tx)
            deployments = await endpoints.deployments(tx)
            replicas = (
                [r for r in await runs.open_ones(tx) if r.owner_noun is OwnerNoun.DEPLOYMENT] if deployments else []
            )
        await self._publisher.publish(render(self._upstreams, there, deployments, replicas=replicas))

"""The loop that publishes the route table: at once when anything in it changes."""

from collections.abc import Callable, Mapping, Sequence

from ultramarine.domain.names import RunKey, is_of
from ultramarine.domain.run import Run
from ultramarine.planning.routes import Entrances, Upstreams, render
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import elsewhere
from ultramarine.services.context import Context
from ultramarine.store import endpoints, instances, runs
from ultramarine.store.database import Tx


class RouteLoop:
    def __init__(
        self,
        ctx: Context,
        publisher: RoutePublisher,
        upstreams: Upstreams,
        *,
        hosts: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`hosts`: by which names others reach this machine, now."""
        self._ctx, self._publisher, self._upstreams, self._hosts = ctx, publisher, upstreams, hosts
        self._applications: Mapping[RunKey, Mapping[str, int]] = {}  #: of runs, whose specifications never change

    async def tick(self) -> None:
        count = self._ctx.serving.count
        async with self._ctx.read() as tx:
            there = await endpoints.every(tx)
            deployments = await endpoints.deployments(tx)
            open_ones: Sequence[Run] = await runs.open_replicas(tx) if deployments else []
            entrances = await self._entrances(tx)
            trust = await elsewhere.trust(self._ctx, tx, [*open_ones, *entrances.runs])
        replicas = [run for run in self._ours(open_ones) if self._ctx.hub.is_ready(run.key)]
        made = render(self._upstreams, there, deployments, replicas=replicas, trust=trust, entrances=entrances)
        await self._publisher.publish(made)
        self._ctx.routed.until(count)

    async def _entrances(self, tx: Tx) -> Entrances:
        there = await instances.every(tx)
        found = self._ours(await runs.open_instances(tx)) if there else []
        await self._learn(tx, found)
        return Entrances(
            instances=there,
            runs=found,
            applications=self._applications,
            secrets={run.key: elsewhere.secret_of(self._ctx, run) for run in found},
            hosts=self._hosts(),
        )

    async def _learn(self, tx: Tx, found: Sequence[Run]) -> None:
        """What each was started with: its instance's own specification may be another by now."""
        known = {run.key: self._applications[run.key] for run in found if run.key in self._applications}
        new = [run.key for run in found if run.key not in known]
        read = await runs.specs(tx, new) if new else {}
        self._applications = known | {key: spec.get("applications", {}) for key, spec in read.items()}

    def _ours(self, found: Sequence[Run]) -> list[Run]:
        """One of before a restore may still listen somewhere: it is not ours any more."""
        return [run for run in found if is_of(run.key, self._ctx.site.epoch)]

"""The loop of online deployments: resolve the model once, keep the replicas that are wanted, say when all answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentStatus
from ultramarine.domain.errors import UltramarineError, Unavailable
from ultramarine.domain.names import RunKey, is_of
from ultramarine.domain.run import Run
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.deployments import AddReplica, RecordDeployment, Standing, TakeBack, TakeOut, plan
from ultramarine.planning.probing import Kind
from ultramarine.planning.scaling import Load, Memory, Scale, decide
from ultramarine.routing.publisher import Reach, RoutePublisher
from ultramarine.services.context import Context
from ultramarine.services.deployments import compute_of, cpus_of, need_of
from ultramarine.services.elsewhere import is_elsewhere
from ultramarine.services.serving import replica_spec, resolve
from ultramarine.store import allocations, endpoints, runs
from ultramarine.store.database import Tx

COMING = (DeploymentStatus.CREATING, DeploymentStatus.UPDATING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFiles:
    """Our own files that every replica gets: blobs, by hash."""

    zip_sha256: str


class DeploymentLoop:
    def __init__(self, ctx: Context, publisher: RoutePublisher, files: ServingFiles) -> None:
        self._ctx, self._publisher, self._files = ctx, publisher, files

    async def tick(self) -> None:
        async with self._ctx.read() as tx:
            there = await endpoints.deployments(tx)
        self._forget_others(there)
        if not there:
            self._ctx.hub.traffic = {}
            return
        reached = self._ctx.hub.reached = await self._publisher.reached()
        self._ctx.hub.traffic = self._publisher.traffic
        self._ctx.hub.history.take(self._ctx.hub.traffic, self._ctx.clock())
        unavailable: Unavailable | None = None
        for deployment in there:
            if deployment.serving or deployment.status not in COMING:
                await self._turn(await self._scaled(deployment), reached)
                continue
            try:
                await self._resolve(deployment)
            except Unavailable as failure:  # of no concern to those whose model is here
                unavailable = failure
        if unavailable is not None:
            raise unavailable

    def _forget_others(self, there: Sequence[Deployment]) -> None:
        """What is remembered of deployments that are gone."""
        hub, ids = self._ctx.hub, {deployment.id for deployment in there}
        places = {deployment.place for deployment in there}
        hub.scaling = {id: memory for id, memory in hub.scaling.items() if id in ids}
        hub.held_at = {place: at for place, at in hub.held_at.items() if place in places}
        hub.leaving = hub.leaving if ids else {}

    async def _scaled(self, deployment: Deployment) -> Deployment:
        """With as many replicas wanted as its requests need."""
        spec, hub, now = deployment.spec, self._ctx.hub, self._ctx.clock()
        if spec.elastic is None or not deployment.goes_on:
            return deployment
        place = deployment.place
        traffic = hub.traffic.get(place)
        scale = Scale(settings=spec.elastic, concurrent=spec.request_settings.max_concurrent_requests_per_instance)
        hub.scaling[deployment.id], made = decide(
            scale,
            hub.scaling.get(deployment.id, Memory(since=now)).awake_at(deployment.changed_at),
            None if traffic is None else Load.of(traffic),
            wanted=deployment.replicas_wanted,
            held_at=hub.held_at.get(place),
            now=now,
        )
        if made is None:
            return deployment
        changed = replace(deployment, replicas_wanted=made.wanted)
        async with self._ctx.begin() as tx:
            return await endpoints.record(tx, changed, DeploymentEvent.SCALED, now=now, reason=made.reason)

    async def _resolve(self, deployment: Deployment) -> None:
        """Bring its model's files here and choose its environment. What does not answer is asked again next turn."""
        try:
            serving = await resolve(self._ctx, deployment)
        except Unavailable:
            raise
        except UltramarineError as refused:
            await self._record(
                RecordDeployment(
                    deployment=deployment, event=DeploymentEvent.GAVE_UP, reason=f"{refused} {refused.hint}"
                )
            )
            return
        async with self._ctx.begin() as tx:
            await endpoints.keep(tx, replace(deployment, serving=serving))
        self._ctx.ring(self._ctx.serving)

    async def _turn(self, deployment: Deployment, reached: Mapping[str, Reach]) -> None:
        async with self._ctx.read() as tx:
            standing = await self._standing(tx, deployment, reached)
        hub = self._ctx.hub
        gone = {run.key for run in standing.runs if run.is_final}
        hub.leaving = {key: at for key, at in hub.leaving.items() if key not in gone}
        for action in plan(standing, self._ctx.clock(), epoch=self._ctx.site.epoch):
            match action:
                case AddReplica():
                    await self._add(action)
                case RecordDeployment():
                    await self._record(action)
                case RecordRun():
                    async with self._ctx.begin() as tx:
                        await runs.record(tx, action.run, action.event, now=self._ctx.clock(), reason=action.reason)
                case TakeOut():
                    self._ctx.hub.leaving[action.run.key] = self._ctx.clock()
                case TakeBack():
                    del self._ctx.hub.leaving[action.run.key]
            self._ctx.ring(self._ctx.serving)

    async def _standing(self, tx: Tx, deployment: Deployment, reached: Mapping[str, Reach]) -> Standing:
        # Those of before a restore are ended by the scheduler, and say nothing of the deployment.
        there = [run for run in await runs.of_owner(tx, deployment.id) if is_of(run.key, self._ctx.site.epoch)]
        compute = await compute_of(tx, deployment.workspace, deployment.spec)
        return Standing(
            deployment=deployment,
            runs=there,
            reached=frozenset(run.key for run in there if run.key in reached and reached[run.key].is_up),
            named=frozenset(run.key for run in there if run.key in reached),
            leaving=self._ctx.hub.leaving,
            dead=dict(self._dead(deployment, there)),
            displaced=await _displaced(tx, there),
            compute=compute.id,
            need=need_of(self._ctx, deployment.spec, compute),
        )

    def _dead(self, deployment: Deployment, there: Sequence[Run]) -> Iterator[tuple[RunKey, str]]:
        for run in there:
            probing = self._ctx.hub.probings.get((run.key, Kind.LIVENESS))
            if probing is not None and (why := probing.words(Kind.LIVENESS, deployment.spec.liveness_probe)):
                yield run.key, why

    async def _add(self, action: AddReplica) -> None:
        deployment = action.deployment
        cpus = cpus_of(self._ctx, deployment.spec)
        async with self._ctx.begin() as tx:
            far = await is_elsewhere(tx, action.run.compute)
            spec = replica_spec(deployment, zip_sha256=self._files.zip_sha256, is_elsewhere=far, cpus=cpus)
            await endpoints.keep(tx, deployment)
            await runs.add(tx, action.run, spec, event="replica_made")

    async def _record(self, action: RecordDeployment) -> None:
        async with self._ctx.begin() as tx:
            await endpoints.record(tx, action.deployment, action.event, now=self._ctx.clock(), reason=action.reason)
        self._ctx.ring(self._ctx.serving)


async def _displaced(tx: Tx, there: Sequence[Run]) -> dict[RunKey, str]:
    """Those whose node is to go, and why it is."""
    on = {run.key: run.nodes[0] for run in there if run.nodes and not run.is_final}
    going = await allocations.draining(tx, sorted(set(on.values())))
    return {run: going[node] for run, node in on.items() if node in going}

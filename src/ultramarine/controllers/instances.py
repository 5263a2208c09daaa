"""The loop of compute instances: a run for each that is to be up, whether it answers, and whether it is in use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ultramarine.controllers.evidence import Inside
from ultramarine.domain.compute import Compute
from ultramarine.domain.instance import COMING, Instance, InstanceEvent, InstanceSpec, InstanceStatus
from ultramarine.domain.names import ComputeId, RunKey, is_of
from ultramarine.domain.run import Run, RunStatus
from ultramarine.domain.size import Amount
from ultramarine.files.homes import Homes
from ultramarine.planning import idleness
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.idleness import Evidence, Idleness
from ultramarine.planning.instances import Action, AddRun, KeepInstance, RecordInstance, Standing, plan, scheduled
from ultramarine.services import elsewhere
from ultramarine.services.context import Context
from ultramarine.services.instances import run_spec
from ultramarine.store import allocations, computes, instances, runs
from ultramarine.store.database import Tx

#: It can be asked: that its machine's runner is not heard does not say that it does not answer.
STARTED = (RunStatus.RUNNING, RunStatus.NOT_RESPONDING)
LOOK_EACH = timedelta(seconds=10)  #: at what one that runs is doing


@dataclass(slots=True)
class _Watch:
    """What is known of a run that answers. `since`: when it was first asked, without a gap since.

    `active_at`: when it was last in use as far as was seen. What is written is older, and a kernel that is gone tells
    no more.
    """

    since: datetime
    asked_at: datetime
    evidence: Evidence | None
    active_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """All that there is. `has_other_machine`: those for which a machine is held that has not their size.

    `running`: the runs of this epoch that have started.
    """

    instances: Sequence[Instance]
    computes: Mapping[ComputeId, Compute]
    has_other_machine: frozenset[ComputeId]
    running: Mapping[ComputeId, Run]

    @property
    def up(self) -> Mapping[ComputeId, Run]:
        """Those that are up, with their run."""
        up = (each.id for each in self.instances if each.status is InstanceStatus.RUNNING)
        return {id: self.running[id] for id in up if id in self.running}


class InstanceLoop:
    def __init__(self, ctx: Context, inside: Inside, *, zip_sha256: str, homes: Homes) -> None:
        """`zip_sha256`: the blob of the program that runs in an instance."""
        self._ctx, self._inside, self._zip, self._homes = ctx, inside, zip_sha256, homes
        self._watched: dict[RunKey, _Watch] = {}

    async def tick(self) -> None:
        look = await self._look()
        answering = await self._answering(look)
        await self._watch(look)
        for instance in look.instances:
            compute = look.computes.get(instance.id)
            if compute is None:
                await self._remove(instance)
            elif isinstance(compute.spec, InstanceSpec) and not compute.is_going:
                await self._turn(instance, compute.spec, look=look, answering=answering)
        self._tell(look)

    async def _look(self) -> _Look:
        async with self._ctx.read() as tx:
            there = await instances.every(tx)
            if not there:
                return _Look(instances=(), computes={}, has_other_machine=frozenset(), running={})
            made = {compute.id: compute for compute in await computes.every(tx)}
            held = await allocations.open_ones(tx)
            open_runs = await runs.open_instances(tx)
        return _Look(
            instances=there,
            computes=made,
            has_other_machine=frozenset(a.compute for a in held if _is_other(a.capacity, made.get(a.compute))),
            running={
                ComputeId(run.owner_id): run
                for run in open_runs
                if run.status in STARTED and is_of(run.key, self._ctx.site.epoch)
            },
        )

    async def _answering(self, look: _Look) -> Mapping[ComputeId, RunKey]:
        """By instance that comes up, its run that answers."""
        asked = [
            (each, look.running[each.id])
            for each in look.instances
            if each.status in COMING and each.id in look.running
        ]
        answers = await self._inside.answers(asked)
        return {instance.id: run.key for (instance, run), good in zip(asked, answers, strict=True) if good}

    async def _watch(self, look: _Look) -> None:
        """Ask those that are up what they do, each as often as that is worth it."""
        now, up = self._ctx.clock(), look.up
        keys = {run.key for run in up.values()}
        self._watched = {key: watch for key, watch in self._watched.items() if key in keys}
        asked = [(each, up[each.id]) for each in look.instances if each.id in up and self._is_time(up[each.id], now)]
        found = await self._inside.evidence(asked)
        for (instance, run), evidence in zip(asked, found, strict=True):
            before = self._watched.get(run.key)
            since = now if before is None or before.evidence is None or evidence is None else before.since
            active_at = instance.active_at if before is None else before.active_at
            self._watched[run.key] = _Watch(since=since, asked_at=now, evidence=evidence, active_at=active_at)

    def _is_time(self, run: Run, now: datetime) -> bool:
        """(Or the clock was set back.)"""
        before = self._watched.get(run.key)
        return before is None or not before.asked_at <= now < before.asked_at + LOOK_EACH

    async def _turn(
        self, instance: Instance, spec: InstanceSpec, *, look: _Look, answering: Mapping[ComputeId, RunKey]
    ) -> None:
        for action in await self._wanted(instance, spec, look=look, answering=answering):
            async with self._ctx.begin() as tx:
                await self._act(tx, action, spec)
            self._ctx.ring(self._ctx.serving)

    async def _wanted(
        self, instance: Instance, spec: InstanceSpec, *, look: _Look, answering: Mapping[ComputeId, RunKey]
    ) -> Sequence[Action]:
        """What its schedules want goes first: the rest is planned from what is so then."""
        now, schedules = self._ctx.clock(), [] if spec.schedules is None else spec.schedules.compute_start_stop
        if (moved := scheduled(instance, schedules, now)) is not None:
            return [moved]
        async with self._ctx.read() as tx:
            of_all_times = await runs.of_owner(tx, instance.id)
        standing = Standing(
            instance=instance,
            # Those of before a restore are ended by the scheduler, and say nothing of the instance but of its home.
            runs=[run for run in of_all_times if is_of(run.key, self._ctx.site.epoch)],
            home=next((run.checkpoint for run in reversed(of_all_times) if run.checkpoint is not None), None),
            answering=answering.get(instance.id),
            has_other_machine=instance.id in look.has_other_machine,
        )
        planned = list(plan(standing, now, epoch=self._ctx.site.epoch))
        return planned or list(self._by_use(instance, spec, look=look, now=now))

    def _by_use(self, instance: Instance, spec: InstanceSpec, *, look: _Look, now: datetime) -> Iterator[Action]:
        if (found := self._judged(instance, spec, look=look, now=now)) is None:
            return
        if found.must_stop(now) and spec.idle_time_before_shutdown_minutes is not None:
            words = idleness.stop_words(found, idle_minutes=spec.idle_time_before_shutdown_minutes)
            yield RecordInstance(instance=instance, event=InstanceEvent.STOP_ASKED, reason=words)
        elif idleness.is_worth_writing(instance, found):
            yield KeepInstance(instance=replace(instance, active_at=found.active_at))

    def _judged(self, instance: Instance, spec: InstanceSpec, *, look: _Look, now: datetime) -> Idleness | None:
        """None: it is not up."""
        run = look.up.get(instance.id)
        watch = None if run is None else self._watched.get(run.key)
        if watch is None:
            return None
        minutes = spec.idle_time_before_shutdown_minutes
        seen = replace(instance, active_at=max(instance.active_at, watch.active_at))
        found = idleness.judge(seen, watch.evidence, idle_minutes=minutes, watched_since=watch.since, now=now)
        watch.active_at = found.active_at
        return found

    def _tell(self, look: _Look) -> None:
        """Those who ask why it is up, and until when."""
        now = self._ctx.clock()
        specs = {id: compute.spec for id, compute in look.computes.items() if isinstance(compute.spec, InstanceSpec)}
        judged = {
            each.id: self._judged(each, specs[each.id], look=look, now=now)
            for each in look.instances
            if each.id in specs
        }
        self._ctx.hub.idleness = {id: found for id, found in judged.items() if found is not None}

    async def _act(self, tx: Tx, action: Action, spec: InstanceSpec) -> None:
        now = self._ctx.clock()
        match action:
            case AddRun():
                is_elsewhere = await elsewhere.is_elsewhere(tx, action.instance.id)
                rendered = run_spec(self._ctx, action.instance, spec, zip_sha256=self._zip, is_elsewhere=is_elsewhere)
                await instances.keep(tx, action.instance)
                await runs.add(tx, action.run, rendered, event="run_made")
            case RecordInstance():
                await instances.record(tx, action.instance, action.event, now=now, reason=action.reason)
            case KeepInstance():
                await instances.keep(tx, action.instance)
            case RecordRun():
                await runs.record(tx, action.run, action.event, now=now, reason=action.reason)

    async def _remove(self, instance: Instance) -> None:
        """Its compute is gone, and with it its home."""
        await self._homes.remove(instance.id)
        async with self._ctx.begin() as tx:
            await instances.remove(tx, instance.id)


def _is_other(capacity: Amount, compute: Compute | None) -> bool:
    return compute is not None and compute.is_instance and capacity != compute.size

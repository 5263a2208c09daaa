"""The loop of compute instances: a run for each that is to be up, and whether it answers."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ultramarine.domain.instance import Instance, InstanceSpec
from ultramarine.domain.names import ComputeId, RunKey, is_of
from ultramarine.domain.run import Run, RunStatus
from ultramarine.planning.actions import RecordRun
from ultramarine.planning.instances import AddRun, RecordInstance, Standing, plan
from ultramarine.planning.routes import UNIX, Place
from ultramarine.routing.asking import ask
from ultramarine.services.context import Context
from ultramarine.services.instances import HTTP, run_spec, secret_of
from ultramarine.store import allocations, computes, instances, runs
from ultramarine.store.database import Tx

TIMEOUT_S = 2.0


class InstanceLoop:
    def __init__(self, ctx: Context, *, zip_sha256: str, homes: Path) -> None:
        """`zip_sha256`: the blob of the program that runs in an instance; `homes`: where this machine keeps homes."""
        self._ctx, self._zip, self._homes = ctx, zip_sha256, homes

    async def tick(self) -> None:
        async with self._ctx.read() as tx:
            there = await instances.every(tx)
            if not there:
                return
            made = {compute.id: compute for compute in await computes.every(tx)}
            held = {allocation.compute for allocation in await allocations.open_ones(tx)}
            open_runs = await runs.open_instances(tx)
        answering = await self._answering(there, open_runs)
        for instance in there:
            compute = made.get(instance.id)
            if compute is None:
                await self._remove(instance)
            elif isinstance(compute.spec, InstanceSpec) and not compute.is_going:
                await self._turn(instance, compute.spec, answering=answering, has_machine=instance.id in held)

    async def _answering(self, there: Sequence[Instance], open_runs: Sequence[Run]) -> Mapping[ComputeId, RunKey]:
        """By instance, its run that answers."""
        of = {instance.id: instance for instance in there}
        asked = [
            (of[ComputeId(run.owner_id)], run)
            for run in open_runs
            if run.owner_id in of and run.status is RunStatus.RUNNING and is_of(run.key, self._ctx.site.epoch)
        ]
        answers = await asyncio.gather(*(self._answers(instance, run) for instance, run in asked))
        return {instance.id: run.key for (instance, run), good in zip(asked, answers, strict=True) if good}

    async def _answers(self, instance: Instance, run: Run) -> bool:
        address = run.sockets.get(HTTP, "")
        if not address.startswith(UNIX):  # a node is not to be believed all
            return False
        headers = {"Authorization": f"token {secret_of(self._ctx, instance.id)}"}
        try:
            place = Place(address=address)
            status, _ = await ask(place, "GET", f"{instance.path}api/status", timeout_s=TIMEOUT_S, headers=headers)
        except OSError:
            return False
        return status == 200

    async def _turn(
        self, instance: Instance, spec: InstanceSpec, *, answering: Mapping[ComputeId, RunKey], has_machine: bool
    ) -> None:
        async with self._ctx.read() as tx:
            # Those of before a restore are ended by the scheduler, and say nothing of the instance.
            mine = [run for run in await runs.of_owner(tx, instance.id) if is_of(run.key, self._ctx.site.epoch)]
        standing = Standing(instance=instance, runs=mine, answering=answering.get(instance.id), has_machine=has_machine)
        for action in plan(standing, self._ctx.clock(), epoch=self._ctx.site.epoch):
            async with self._ctx.begin() as tx:
                await self._act(tx, action, spec)
            self._ctx.ring(self._ctx.serving)

    async def _act(self, tx: Tx, action: AddRun | RecordInstance | RecordRun, spec: InstanceSpec) -> None:
        now = self._ctx.clock()
        match action:
            case AddRun():
                rendered = run_spec(self._ctx, action.instance, spec, zip_sha256=self._zip)
                await instances.keep(tx, action.instance)
                await runs.add(tx, action.run, rendered, event="run_made")
            case RecordInstance():
                await instances.record(tx, action.instance, action.event, now=now, reason=action.reason)
            case RecordRun():
                await runs.record(tx, action.run, action.event, now=now, reason=action.reason)

    async def _remove(self, instance: Instance) -> None:
        """Its compute is gone, and with it its home."""
        await asyncio.to_thread(shutil.rmtree, self._homes / instance.id, ignore_errors=True)
        async with self._ctx.begin() as tx:
            await instances.remove(tx, instance.id)

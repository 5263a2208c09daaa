"""A world with compute instances beside all else: what runs in them is what a test says that they do."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.factories import make_token
from tests.simulation.runner import Nature
from tests.simulation.servers import Loop, Server, ServerDied
from tests.simulation.world import World

from ultramarine import curated
from ultramarine.controllers.evidence import Asked
from ultramarine.controllers.instances import InstanceLoop
from ultramarine.domain.environment import Environment, EnvironmentSpec, EnvironmentStatus, Locked
from ultramarine.domain.instance import InstanceEvent, InstanceStatus
from ultramarine.domain.names import ComputeId
from ultramarine.files.homes import Homes
from ultramarine.planning.idleness import Evidence
from ultramarine.services import computes, instances
from ultramarine.services.context import Context
from ultramarine.services.instances import CLIENT, JUPYTER
from ultramarine.store import assets
from ultramarine.store import tables as t

NAME = "mine"
BODY = {"type": "computeinstance", "size": "cpu-1"}
ANN = make_token("ann")
IDLE = Evidence(cpu_percent=1.0)


@dataclass(slots=True)
class InstanceWorld(World):
    evidence: Evidence | None = IDLE  #: of what runs in it now; None: it does not answer
    is_answering: bool = True
    stride_s: float = 4.0  #: of a calm step: hours are long

    def new_server(self, home: int) -> Server:
        server = World.new_server(self, home)
        loop = InstanceLoop(server.ctx, Inside(self), zip_sha256="0" * 64, homes=InlineHomes(self.homes))
        server.loops = [*server.loops, Loop(loop.tick)]
        return server

    def calm_step(self) -> None:
        self.now += self.stride_s - 2.0
        World.calm_step(self)

    @property
    def homes(self) -> Path:
        return self.folder / "homes"

    @property
    def ctx(self) -> Context:
        return self.servers[0].ctx

    def make(self, **different: Any) -> None:
        """The curated environments, and instance `NAME` of ann."""
        self.natures[NAME] = Nature(work_s=0, failing=0, lines=1)
        self.run(self._add_environments())
        self.again(lambda: computes.put(self.ctx, "w", NAME, {**BODY, **different}, token=ANN))

    async def _add_environments(self) -> None:
        jupyter = Environment(
            workspace=assets.CURATED,
            name=JUPYTER,
            version=curated.load()[JUPYTER].version,
            spec=EnvironmentSpec(requirements=[]),
            locked=Locked(digest="d", lock="0" * 64, python="3.11", packages=1),
            is_curated=True,
            status=EnvironmentStatus.SUCCEEDED,
            created_at=self.ctx.clock(),
        )
        async with self.ctx.begin() as tx:
            await assets.add_environment(tx, jupyter)
            ours = {"workspace": assets.INTERNAL, "version": curated.load()[CLIENT].version}
            await assets.add_environment(tx, replace(jupyter, name=f"{CLIENT}-3.11", is_curated=False, **ours))

    def ask(self, event: InstanceEvent) -> None:
        self.again(lambda: instances.ask(self.ctx, "w", NAME, event, token=ANN))

    def delete(self) -> None:
        self.again(lambda: computes.delete(self.ctx, "w", NAME, token=ANN))

    def again(self, request: Any) -> None:
        """Made again where the server dies over it."""
        while True:
            try:
                self.run(request())
            except ServerDied:
                continue
            return

    def restart(self) -> None:
        """Every server is started anew, and knows nothing but the store."""
        for server in list(self.servers):
            self.crash(server)

    def until(self, status: InstanceStatus | None, *, steps_max: int = 200) -> None:
        """None: until it is gone."""
        for _ in range(steps_max):
            if self.status == status:
                return
            self.calm_step()
        raise AssertionError(f"it is {self.status}, not {status}, after {steps_max} steps")

    @property
    def status(self) -> InstanceStatus | None:
        with self.db.engine.connect() as connection:
            found = connection.execute(sa.select(t.instances.c.status)).scalar_one_or_none()
        return None if found is None else InstanceStatus(found)

    def events(self, event: InstanceEvent) -> list[str]:
        """The reasons of each time that it happened."""
        with self.db.engine.connect() as connection:
            happened = sa.select(t.events.c.reason).where(t.events.c.noun == "instance", t.events.c.event == event)
            return list(connection.execute(happened.order_by(t.events.c.seq)).scalars())

    @property
    def id(self) -> ComputeId:
        with self.db.engine.connect() as connection:
            return ComputeId(connection.execute(sa.select(t.instances.c.id)).scalar_one())

    @property
    def instance_runs(self) -> list[str]:
        return [run.key for run in self.alive() if run.owner == NAME]


class InlineHomes(Homes):
    """Without a thread: one thing happens at a time."""

    async def remove(self, instance: ComputeId) -> None:
        shutil.rmtree(self.folder / instance, ignore_errors=True)


class Inside:
    """What the real one asks Jupyter, the world is asked."""

    def __init__(self, world: InstanceWorld) -> None:
        self._world = world

    async def answers(self, asked: Asked) -> Sequence[bool]:
        return [self._world.is_answering and run.key in self._world.instance_runs for _, run in asked]

    async def evidence(self, asked: Asked) -> Sequence[Evidence | None]:
        return [self._world.evidence if run.key in self._world.instance_runs else None for _, run in asked]

"""A whole installation in memory: real store, real loops of two servers; a target, runners and users that dice move.

One thing runs at a time. A server changes over to the world at every border (`servers.py`). There it may be interleaved
with the other server, stand still for a long time, or die (`misfortune.py`).
"""

from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import sqlalchemy as sa
from tests import factories
from tests.simulation.backups import Backup
from tests.simulation.effects import EFFECTS, INSTANCE_EFFECTS, Aim, Moment
from tests.simulation.runner import Nature, SimulatedRun, SimulatedRunner
from tests.simulation.servers import BorderedDatabase, BorderedDriver, Loop, Server, ServerDied
from tests.simulation.serving import SimulatedGateway, SimulatedTracking
from tests.simulation.storm import NO_STORM, Storm, faults_of

from ultramarine import curated
from ultramarine.controllers.deployments import DeploymentLoop, ServingFiles
from ultramarine.controllers.routes import RouteLoop
from ultramarine.controllers.runs import RunLoop
from ultramarine.domain.allocation import Allocation
from ultramarine.domain.environment import Environment, EnvironmentSpec, EnvironmentStatus, Locked
from ultramarine.domain.errors import StaleWrite, Unavailable
from ultramarine.domain.host import Host
from ultramarine.domain.names import AllocationKey, Epoch, is_of
from ultramarine.domain.quota import Quota
from ultramarine.drivers.simulated import CALM, SimulatedDriver, SimulatedTarget
from ultramarine.planning.routes import Upstreams
from ultramarine.planning.seen import Patience
from ultramarine.services import computes, identity
from ultramarine.services.context import Context
from ultramarine.services.hub import Hub
from ultramarine.services.nodes import JOIN
from ultramarine.services.serving import SERVING
from ultramarine.store import assets, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import InlineDatabase

T = TypeVar("T")
PATIENCE = Patience(silent_after_s=6, lease_s=30, margin_s=10, start_s=20, beat_s=2, grace_s=5)
SERVERS = 2
OWNER = "SELECT owner FROM leases WHERE name = 'hosts/local'"  #: which server looks after the pool
OURS = {"workspace": assets.INTERNAL, "version": curated.load()[SERVING].version}
WHOLE = replace(factories.cpus(4, gpus=2), shares_milli=4000)
HOST = factories.make_host(total=WHOLE, gpu_ids=("GPU-0", "GPU-1"))
CLUSTERS: dict[str, tuple[str, int, str]] = {
    "small": ("cpu-1", 3, "dedicated"),
    "large": ("cpu-2", 2, "dedicated"),
    "gpu": ("gpu-1", 2, "dedicated"),
    "cheap": ("cpu-1", 2, "low_priority"),
}


@dataclass(slots=True)
class World:
    seed: int
    dice: Random
    folder: Path
    db: InlineDatabase
    host: Host = HOST
    target: SimulatedTarget = field(init=False)
    now: float = 0.0  #: true time, in seconds
    wall_offset: float = 0.0  #: how far the servers' clocks are off
    storm: Storm = field(default_factory=Storm)
    servers: list[Server] = field(default_factory=list[Server])
    runners: dict[AllocationKey, SimulatedRunner] = field(default_factory=dict[AllocationKey, SimulatedRunner])
    natures: dict[str, Nature] = field(default_factory=dict[str, Nature])
    starts: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    logs: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])  #: by run and rank
    told: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])  #: run and rank: all has arrived
    canceled: set[str] = field(default_factory=set[str])  #: jobs that a user asked to end, by name
    stale_writes: int = 0
    epoch: Epoch = factories.EPOCH
    restores: int = 0
    backup: Backup | None = None
    is_mlflow_away: bool = False
    calm_load: int = 0  #: requests in flight to each deployment when the storm is over
    aims: Sequence[Aim] = ()  #: where servers die, besides where dice say
    happened: Counter[str] = field(default_factory=Counter[str])
    _server_count: int = 0

    @classmethod
    def begin_with(cls, seed: int, folder: Path, *, host: Host = HOST) -> "World":
        world = cls(seed, Random(seed), folder, InlineDatabase(), host, storm=Storm.of(seed))
        world.target = SimulatedTarget(world.true_time, world.dice)
        world.target.faults = faults_of(seed)
        t.metadata.create_all(world.db.engine)
        world.run(world._found(world.context("nobody")))
        world.servers = [world.new_server(home) for home in range(SERVERS)]
        return world

    @property
    def quota(self) -> Quota | None:
        """Every third world has one."""
        return Quota(nodes=3, cpus=3) if self.seed % 3 == 0 else None

    @property
    def has_services(self) -> bool:
        """Half of them have: users deploy models there, besides their jobs."""
        return self.seed % 4 in (1, 2)

    @property
    def is_crowded(self) -> bool:
        """Every fifth is: spot work is in the way of other work there."""
        return self.seed % 5 == 2

    # Time and parts

    def true_time(self) -> datetime:
        return factories.later(self.now)

    def wall(self) -> datetime:
        return factories.later(self.now + self.wall_offset)

    def context(self, server: str) -> Context:
        return factories.make_context(
            BorderedDatabase(self.db, server),
            self.folder,
            clock=self.wall,
            names=lambda: f"{self.dice.getrandbits(128):032x}",
            hub=Hub(patience=PATIENCE, listening_since=self.wall()),
            tracking=SimulatedTracking(self.dice, lambda: 1.0 if self.is_mlflow_away else self.storm.loss),
            site=factories.make_site(machine=HOST, epoch=self.epoch),
        )

    def new_server(self, home: int) -> Server:
        self._server_count += 1
        name = f"s{self._server_count}"
        ctx, driver = self.context(name), BorderedDriver(SimulatedDriver(self.target), name, is_known=self._is_known)
        gateway = SimulatedGateway(
            self.folder / f"gateway-{home}", name, answers=self.answers, load=self.requests_in_flight
        )
        loops = [Loop(RunLoop(ctx, driver, owner=name).tick, leads=True)]
        if self.has_services:
            upstreams = Upstreams(control="unix:control", mlflow="unix:mlflow")
            loops += [
                Loop(DeploymentLoop(ctx, gateway, ServingFiles(zip_sha256="0" * 64)).tick),
                Loop(RouteLoop(ctx, gateway, upstreams).tick),
            ]
        return Server(name, home, ctx, loops, gateway)

    def requests_in_flight(self) -> int:
        """To each deployment; a hundred need more than one replica. In the storm they swing."""
        return self.calm_load if self.storm is NO_STORM else self.dice.choice((0, 10, 100))

    def answers(self, replica: str, address: str) -> bool:
        """Whether this replica runs, and listens there."""
        return any(
            runner.is_alive and replica in runner.runs and runner.address_of(runner.runs[replica]) == address
            for runner in self.runners.values()
        )

    def crash(self, server: Server) -> None:
        """A control plane dies where it is, and starts anew knowing nothing but the store."""
        server.die()
        self.servers[self.servers.index(server)] = self.new_server(server.home)
        self.happened["crash"] += 1

    def _is_known(self, key: AllocationKey) -> bool:
        with self.db.engine.connect() as connection:
            there = sa.select(t.allocations.c.status).where(t.allocations.c.key == key)
            return is_of(key, self.epoch) and connection.execute(there).scalar() not in (None, "Forgotten")

    async def _found(self, ctx: Context) -> None:
        async with ctx.begin() as tx:
            await hosts.put(tx, self.host)
            spec = identity.WorkspaceSpec(quota=self.quota)
            await identity.found_workspace(tx, ctx, "w", spec, now=ctx.clock())
            serving = replace(_environment(f"{SERVING}-3.11", EnvironmentStatus.SUCCEEDED, ctx.clock()), **OURS)
            await assets.add_environment(tx, serving)
            for name, status in (("minimal", EnvironmentStatus.SUCCEEDED), ("slow", EnvironmentStatus.RESOLVING)):
                await assets.add_environment(tx, _environment(name, status, ctx.clock()))
        for name in CLUSTERS:
            await computes.put(ctx, "w", name, cluster(name), token=factories.make_token())

    # Running coroutines by hand

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """A request, to its end, in one go. Raises `ServerDied` when the server dies meanwhile."""
        try:
            while True:
                if self._is_last(moment := work.send(None)):
                    self.crash(next(server for server in self.servers if server.name == moment.server))
                    work.throw(ServerDied())
        except StopIteration as end:
            return end.value

    def advance(self, server: Server, loop: Loop, *, whole: bool = False) -> None:
        """One loop of a server to its next border, or through a whole turn."""
        loop.turn = loop.turn or loop.tick()
        try:
            self._go_on(server, loop, loop.turn)
            while whole:
                self._go_on(server, loop, loop.turn)
        except StopIteration:
            loop.turn = None
        except StaleWrite:
            self.stale_writes += 1
            loop.turn = None
        except (OSError, Unavailable):  # an outage: the loop would try again after a rest
            loop.turn = None
        except ServerDied:
            self.crash(server)

    def _go_on(self, server: Server, loop: Loop, turn: Coroutine[Any, Any, None]) -> None:
        """To its next border: one transaction at most, and in the scheduler only who holds the lease has written."""
        before = self._newest_event()
        while True:
            moment: Moment = turn.send(None)
            if self._is_last(moment):
                raise ServerDied
            if moment.is_border:
                break
        if loop.leads and self._newest_event() != before:
            with self.db.engine.connect() as connection:
                owner = connection.exec_driver_sql(OWNER).scalar_one()
            assert owner == server.name, f"{server.name} has written, and {owner} leads"

    def _is_last(self, moment: Moment) -> bool:
        """Whether its server dies at this moment."""
        if not self.servers:
            return False  # the world is being made
        unknown = moment.effects - {*EFFECTS, *INSTANCE_EFFECTS}
        assert not unknown, f"effects without a name: {unknown}"
        return any(aim.is_at(moment) for aim in self.aims)

    def _newest_event(self) -> int:
        with self.db.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT max(seq) FROM events").scalar_one() or 0

    # What moves

    def leader(self) -> Context | None:
        """The server that runners speak to: the one that looks after the pool."""
        with self.db.engine.connect() as connection:
            owner = connection.exec_driver_sql(OWNER).scalar_one_or_none()
        found = next((s for s in self.servers if s.name == owner and self.now >= s.still_until), None)
        return None if found is None else found.ctx

    def pass_time(self) -> None:
        self.now += self.dice.uniform(0, 0.5)

    def step(self) -> None:
        """One thing happens, somewhere."""
        self._begin_runners()
        runners = [runner for runner in self.runners.values() if runner.is_alive]
        if runners and self.dice.random() < 0.5:
            runner = self.dice.choice(runners)
            self.run(runner.step())
            self.keep(runner)
            return
        able = [server for server in self.servers if self.now >= server.still_until]
        if able:
            server = self.dice.choice(able)
            for loop in server.loops:
                for _ in range(self.dice.randint(1, 4)):
                    if server in self.servers:  # it has not died
                        self.advance(server, loop)

    def _begin_runners(self) -> None:
        """Runners live on machines that are up, and die with them."""
        for key, runner in self.runners.items():
            machine = self.target.machines.get(key)
            if runner.is_alive and (machine is None or machine.state == "ended"):
                self.keep(runner)
                runner.die()
            elif not runner.is_alive and machine is not None and machine.state == "up":
                self.target.kill(key)
        for machine in self.target.alive():
            if machine.key not in self.runners and machine.up_at <= self.true_time():
                self.runners[machine.key] = self._runner(machine.key)
        for runner in self.runners.values():
            runner.loss, runner.doubling = self.storm.loss, self.storm.doubling

    def _runner(self, key: AllocationKey) -> SimulatedRunner:
        return SimulatedRunner(
            allocation=_only_key(key),
            join_secret=self.servers[0].ctx.secrets.of(JOIN, key),
            epoch=key.partition("-")[0],  # what it was started with
            dice=self.dice,
            now=lambda: self.now,
            server=self.leader,
            nature=lambda job: self.natures[job],
            started=lambda run, node: self.starts.update([(run, node)]),
        )

    def alive(self) -> list[SimulatedRun]:
        """What really runs, or is about to, or ends."""
        return [run for runner in self.runners.values() if runner.is_alive for run in runner.runs.values()]

    def keep(self, runner: SimulatedRunner) -> None:
        """What it wrote and told, for the comparison at the end."""
        for place, written in runner.logs.items():
            self.logs[place] = written
        self.told |= {place for place in runner.told if is_of(place[0], self.epoch)}

    # The end

    def calm_down(self) -> None:
        """The storm is over: machines and messages are reliable, clocks go steadily, everybody is heard again."""
        self.storm, self.target.faults = NO_STORM, CALM
        for server in self.servers:
            server.still_until = 0.0
        for runner in self.runners.values():
            runner.cut_off_until = 0.0

    def calm_step(self) -> None:
        """Everybody's turn, and a second."""
        self.now += 2.0
        self._begin_runners()
        for server in list(self.servers):
            for loop in server.loops:
                if server in self.servers:
                    self.advance(server, loop, whole=True)
        for runner in list(self.runners.values()):
            for _ in range(5):
                if runner.is_alive:
                    self.run(runner.step())
            self.keep(runner)

    def count_preempted(self) -> None:
        with self.db.engine.connect() as connection:
            endings = connection.execute(sa.select(t.runs.c.ending)).scalars()
            self.happened["preempted"] += sum(e is not None and e["cause"] == "preempted" for e in endings)

    def drain_once_all_have_ended(self) -> None:
        """Idle nodes go now, and not after their idle time."""
        with self.db.engine.connect() as connection:
            count = sa.select(sa.func.count()).select_from(t.runs).where(t.runs.c.is_open)
            has_ended = connection.execute(count).scalar_one() == 0
        for server in self.servers:
            server.ctx.hub.is_draining = has_ended

    def is_empty(self) -> bool:
        """Nothing is open, nothing runs, nothing is left on the target."""
        with self.db.engine.connect() as connection:
            count = sa.select(sa.func.count()).select_from(t.runs).where(t.runs.c.is_open)
            runs = connection.execute(count).scalar_one()
            left = sa.select(sa.func.count()).select_from(t.allocations).where(t.allocations.c.status != "Forgotten")
            allocations = connection.execute(left).scalar_one()
            there = sa.select(sa.func.count()).select_from(t.deployments).where(t.deployments.c.status != "Deleted")
            deployments = connection.execute(there).scalar_one()
        return runs == 0 and allocations == 0 and deployments == 0 and not self.target.machines


def cluster(name: str, **different: Any) -> dict[str, Any]:
    """What a user writes to make one of `CLUSTERS`."""
    size, count, tier = CLUSTERS[name]
    plain = {"type": "amlcompute", "size": size, "max_instances": count, "tier": tier, "idle_time_before_scale_down": 8}
    return plain | different


def _environment(name: str, status: EnvironmentStatus, now: datetime) -> Environment:
    locked = Locked(digest="d", lock="0" * 64, python="3.11", packages=0)
    return Environment(
        workspace="w",
        name=name,
        version="1",
        spec=EnvironmentSpec(requirements=[]),
        locked=locked if status is EnvironmentStatus.SUCCEEDED else None,
        status=status,
        created_at=now,
    )


def _only_key(key: AllocationKey) -> Allocation:
    """All that a runner knows of its allocation."""
    return factories.make_allocation(key=key)

"""A whole installation in memory: real store, real loops of two servers; a target, runners and users that dice move.

One thing runs at a time. A server changes over to the world at every border: before and after each transaction and each
call of the driver. There it may be interleaved with the other server, stand still for a long time, or die.
"""

import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import sqlalchemy as sa
from tests import factories
from tests.simulation.runner import Nature, SimulatedRunner

from ultramarine.controllers.runs import RunLoop
from ultramarine.domain.allocation import Allocation
from ultramarine.domain.environment import Environment, EnvironmentEvent, EnvironmentSpec, EnvironmentStatus, Locked
from ultramarine.domain.errors import StaleWrite, UltramarineError
from ultramarine.domain.host import Host
from ultramarine.domain.names import AllocationKey, Epoch, is_of
from ultramarine.domain.quota import Quota
from ultramarine.drivers.simulated import CALM, Faults, SimulatedDriver, SimulatedTarget
from ultramarine.planning.seen import Patience
from ultramarine.services import computes, identity, jobs
from ultramarine.services.context import Context
from ultramarine.services.hub import Hub
from ultramarine.services.nodes import JOIN
from ultramarine.store import assets, hosts
from ultramarine.store import tables as t
from ultramarine.store.database import InlineDatabase, Tx

T = TypeVar("T")
PATIENCE = Patience(silent_after_s=6, lease_s=30, margin_s=10, start_s=20, beat_s=2, grace_s=5)
HOST = factories.make_host(total=factories.cpus(4, gpus=2), gpu_ids=("GPU-0", "GPU-1"))
CLUSTERS = (
    ("small", "cpu-1", 3, "dedicated"),
    ("large", "cpu-2", 2, "dedicated"),
    ("gpu", "gpu-1", 2, "dedicated"),
    ("cheap", "cpu-1", 2, "low_priority"),
)
STORMY = Faults(outage=0.05, lost_reply=0.05, no_word=0.1, late_start=0.05, late_s=40)


class Border:
    """Where a server changes over to the world."""

    def __await__(self) -> Generator[None]:
        yield


async def border() -> None:
    await Border()


class BorderedDatabase:
    """The store as one server sees it."""

    def __init__(self, inner: InlineDatabase) -> None:
        self._inner = inner

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[Tx]:
        await border()
        async with self._inner.begin() as tx:
            yield tx
        await border()

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[Tx]:
        await border()
        async with self._inner.read() as tx:
            yield tx
        await border()

    async def close(self) -> None:
        pass


@dataclass(slots=True)
class Server:
    """One control plane. `still_until`: it stands still in the middle of whatever it does."""

    name: str
    ctx: Context
    loop: RunLoop
    turn: Coroutine[Any, Any, None] | None = None
    still_until: float = 0.0


@dataclass(slots=True, kw_only=True)
class Storm:
    """What else goes wrong, as chances for each step of the world."""

    crash: float = 0.01
    standstill: float = 0.004
    kill: float = 0.004
    cut_off: float = 0.01
    shut_down: float = 0.002
    jump: float = 0.002
    usurp: float = 0.0  #: the leader's lease runs out, and the other server may take over in the middle of its turn
    backup: float = 0.0
    restore: float = 0.0  #: the store goes back to the backup, in a new epoch, while all that runs goes on
    loss: float = 0.1
    doubling: float = 0.1

    @classmethod
    def of(cls, seed: int) -> "Storm":
        """Half of the storms change leaders all the time; the others leave time for silence to become a fact.

        In every fourth the installation is restored from a backup.
        """
        storm = cls(usurp=0.08, standstill=0.02) if seed % 2 else cls()
        return replace(storm, backup=0.02, restore=0.01) if seed % 4 >= 2 and seed % 8 >= 4 else storm


NO_STORM = Storm(crash=0, standstill=0, kill=0, cut_off=0, shut_down=0, jump=0, loss=0, doubling=0)


@dataclass(frozen=True, slots=True)
class Backup:
    """The store as it was, and what there was of logs, by path."""

    rows: sqlite3.Connection
    logs: dict[Path, bytes]

    @classmethod
    def of(cls, db: InlineDatabase, folder: Path) -> "Backup":
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        _store(db).backup(copy)
        return cls(copy, {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()})

    def restore(self, db: InlineDatabase, folder: Path) -> None:
        self.rows.backup(_store(db))
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.unlink()
        for path, content in self.logs.items():
            path.write_bytes(content)


def _store(db: InlineDatabase) -> sqlite3.Connection:
    found: Any = db.engine.raw_connection().driver_connection
    return found


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
    happened: Counter[str] = field(default_factory=Counter[str])
    _server_count: int = 0

    @classmethod
    def begin_with(cls, seed: int, folder: Path, *, host: Host = HOST) -> "World":
        world = cls(seed, Random(seed), folder, InlineDatabase(), host, storm=Storm.of(seed))
        world.target = SimulatedTarget(world.true_time, world.dice)
        world.target.faults = STORMY
        t.metadata.create_all(world.db.engine)
        ctx = world.context()
        world.run(world._found(ctx))
        world.servers = [world.new_server(), world.new_server()]
        return world

    @property
    def quota(self) -> Quota | None:
        """Every third world has one."""
        return Quota(nodes=3, cpus=3) if self.seed % 3 == 0 else None

    @property
    def is_crowded(self) -> bool:
        """Every fifth is: spot work is in the way of other work there."""
        return self.seed % 5 == 2

    # Time and parts

    def true_time(self) -> datetime:
        return factories.later(self.now)

    def wall(self) -> datetime:
        return factories.later(self.now + self.wall_offset)

    def context(self) -> Context:
        return factories.make_context(
            BorderedDatabase(self.db),
            self.folder,
            clock=self.wall,
            names=lambda: f"{self.dice.getrandbits(128):032x}",
            hub=Hub(patience=PATIENCE, listening_since=self.wall()),
            tracking=None,
            site=factories.make_site(machine=HOST, epoch=self.epoch),
        )

    def new_server(self) -> Server:
        self._server_count += 1
        name, ctx = f"s{self._server_count}", self.context()
        driver = SimulatedDriver(self.target, border=border)
        return Server(name, ctx, RunLoop(ctx, driver, owner=name))

    async def _found(self, ctx: Context) -> None:
        async with ctx.begin() as tx:
            await hosts.put(tx, self.host)
            spec = identity.WorkspaceSpec(quota=self.quota)
            await identity.found_workspace(tx, ctx, "w", spec, now=ctx.clock())
            for name, status in (("minimal", EnvironmentStatus.SUCCEEDED), ("slow", EnvironmentStatus.RESOLVING)):
                await assets.add_environment(tx, _environment(name, status, ctx.clock()))
        for name, size, count, tier in CLUSTERS:
            body = {"size": size, "max_instances": count, "tier": tier, "idle_time_before_scale_down": 8}
            await computes.put(ctx, "w", name, {"type": "amlcompute", **body})

    # Running coroutines by hand

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """To its end, in one go."""
        while True:
            try:
                work.send(None)
            except StopIteration as end:
                return end.value

    def advance(self, server: Server, *, whole: bool = False) -> None:
        """A server to its next border, or through a whole turn."""
        server.turn = server.turn or server.loop.tick()
        try:
            self._go_on(server, server.turn)
            while whole:
                self._go_on(server, server.turn)
        except StopIteration:
            server.turn = None
        except StaleWrite:
            self.stale_writes += 1
            server.turn = None
        except OSError:  # an outage: the loop would try again after a rest
            server.turn = None

    def _go_on(self, server: Server, turn: Coroutine[Any, Any, None]) -> None:
        """To its next border: one transaction at most, and only who holds the lease has written in it."""
        before = self._newest_event()
        turn.send(None)
        if self._newest_event() != before:
            with self.db.engine.connect() as connection:
                owner = connection.exec_driver_sql("SELECT owner FROM leases").scalar_one()
            assert owner == server.name, f"{server.name} has written, and {owner} leads"

    def _newest_event(self) -> int:
        with self.db.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT max(seq) FROM events").scalar_one() or 0

    # What moves

    def leader(self) -> Context | None:
        """The server that runners speak to: the one that looks after the pool."""
        with self.db.engine.connect() as connection:
            owner = connection.exec_driver_sql("SELECT owner FROM leases").scalar_one_or_none()
        found = next((s for s in self.servers if s.name == owner and self.now >= s.still_until), None)
        return None if found is None else found.ctx

    def step(self) -> None:
        """One thing happens, somewhere."""
        self.now += self.dice.uniform(0, 0.5)
        self._misfortune()
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
            for _ in range(self.dice.randint(1, 4)):
                self.advance(server)

    def _misfortune(self) -> None:
        storm, dice = self.storm, self.dice
        if dice.random() < storm.crash:
            self.crash(dice.randrange(len(self.servers)))
        for server in self.servers:
            if server.turn is not None and dice.random() < storm.standstill:  # in the middle of its turn
                server.still_until = self.now + dice.uniform(5, 40)
                self.happened["standstill"] += 1
        alive = [key for key, runner in self.runners.items() if runner.is_alive]
        machines = [machine.key for machine in self.target.alive()]  # also those that have not begun yet
        if machines and dice.random() < storm.kill:
            self.target.kill(dice.choice(machines), is_seen=dice.random() < 0.5)
            self.happened["kill"] += 1
        if alive and dice.random() < storm.cut_off:
            self.runners[dice.choice(alive)].cut_off_until = self.now + dice.uniform(2, 70)
            self.happened["cut off"] += 1
        if alive and dice.random() < storm.shut_down:
            self.runners[dice.choice(alive)].shut_down()
            self.happened["shut down"] += 1
        if dice.random() < storm.usurp:
            self._usurp()
        self._go_back()
        if dice.random() < storm.jump:
            self.wall_offset += dice.choice((-3600, -60, -8, 8, 60, 3600))
            self.happened["jump"] += 1

    def _usurp(self) -> None:
        """The leader's lease has run out while it was in the middle of its turn, and it does not know it yet."""
        with self.db.engine.begin() as connection:
            owner = connection.exec_driver_sql("SELECT owner FROM leases").scalar_one_or_none()
            connection.exec_driver_sql("UPDATE leases SET until = 0")
        for server in self.servers:
            if server.name == owner and server.turn is not None:
                server.still_until = self.now + self.dice.uniform(1, 5)
                self.happened["usurped"] += 1

    def crash(self, index: int) -> None:
        """A control plane dies between two borders, and starts anew knowing nothing but the store."""
        if (turn := self.servers[index].turn) is not None:
            turn.close()
        self.servers[index] = self.new_server()
        self.happened["crash"] += 1

    def _go_back(self) -> None:
        """A backup is made now and then, and sometimes it is needed."""
        if self.dice.random() < self.storm.backup:
            self.backup = Backup.of(self.db, self.folder / "logs")
        if self.backup is not None and self.dice.random() < self.storm.restore:
            self._restore(self.backup)

    def _restore(self, backup: Backup) -> None:
        """All servers are stopped, the store is what it was, and others begin with it in a new epoch."""
        for server in self.servers:
            if server.turn is not None:
                server.turn.close()
        backup.restore(self.db, self.folder / "logs")
        self.restores += 1
        self.epoch = Epoch(f"r{self.restores}")
        self.servers = [self.new_server() for _ in self.servers]
        for runner in self.runners.values():  # what loses a store often loses the way to it
            if self.dice.random() < 0.5:
                runner.cut_off_until = self.now + self.dice.uniform(10, 60)
        self.told = {told for told in self.told if is_of(told[0], self.epoch)}  # what had arrived may be gone again
        self.happened["restored"] += 1

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

    def keep(self, runner: SimulatedRunner) -> None:
        """What it wrote and told, for the comparison at the end."""
        for place, written in runner.logs.items():
            self.logs[place] = written
        self.told |= {place for place in runner.told if is_of(place[0], self.epoch)}

    # Users

    def create_job(self, number: int) -> None:
        dice, name = self.dice, f"job-{number}"
        compute = dice.choice(("local", "small", "small", "large", "gpu", "cheap"))
        count = 1 if compute == "local" else dice.randint(1, 2)
        part = {"cpus": 0.5} if compute in ("small", "large") else {"gpus": 1, "cpus": 0.5}
        self.natures[name] = Nature(
            work_s=dice.uniform(0, 8),
            failing=dice.choice((0, 0, 0.5)),
            lines=dice.randrange(5),
            ranks=dice.randint(1, 3),
        )
        body = {
            "command": "work",
            "environment": dice.choice(("minimal", "minimal", "minimal", "slow")),
            "compute": compute,
            "resources": {"instance_count": count} | (part if dice.random() < 0.3 and compute != "cheap" else {}),
            "retries": dice.randrange(3),
            "limits": {"timeout": dice.randint(6, 20)} if dice.random() < 0.5 else {},
            "queue_settings": {
                "priority": dice.choice(("low", "medium", "high")),
                "job_tier": dice.choice(("spot", "spot", "basic", "null", "premium")),
            },
        }
        if self.is_crowded:  # long spot jobs take all of a cluster, then others come that do not give way
            is_first = number < 3
            self.natures[name] = replace(self.natures[name], work_s=dice.uniform(30, 60) if is_first else 3.0)
            tier = "spot" if is_first else "premium"
            body |= {"compute": "small", "resources": {"instance_count": 1}, "limits": {}, "environment": "minimal"}
            body["queue_settings"] = {"job_tier": tier}
        self._ask(jobs.create(self.servers[0].ctx, "w", name, body, user=dice.choice(("ann", "bob"))))

    def may_create(self, number: int) -> bool:
        """Those that do not give way come when there is somebody to do so."""
        if not self.is_crowded or number < 3:
            return True
        with self.db.engine.connect() as connection:
            there = set(connection.execute(sa.select(t.runs.c.status).where(t.runs.c.is_open)).scalars())
        return not there or "Running" in there

    def create_gang(self, number: int, compute: str, count: int) -> None:
        name = f"job-{number}"
        self.natures[name] = Nature(work_s=self.dice.uniform(0, 8), failing=0, lines=1)
        body = {"command": "work", "environment": "minimal", "compute": compute}
        body |= {"resources": {"instance_count": count}}
        self._ask(jobs.create(self.servers[0].ctx, "w", name, body, user="ann"))

    def cancel_job(self, number: int) -> None:
        self.canceled.add(f"job-{number}")
        self._ask(jobs.cancel(self.servers[0].ctx, "w", f"job-{number}"))

    def delete_compute(self, name: str) -> None:
        for job, compute in self.jobs().items():
            if compute == name:
                self.canceled.add(job)
        self._ask(computes.delete(self.servers[0].ctx, "w", name))

    def resolve_slow(self) -> None:
        async def resolve() -> None:
            async with self.servers[0].ctx.begin() as tx:
                slow = await assets.environment(tx, "w", "slow")
                locked = Locked(digest="d", lock="0" * 64, python="3.11", packages=1)
                if slow.status is EnvironmentStatus.RESOLVING:
                    await assets.record_environment(tx, slow, EnvironmentEvent.LOCKED, locked=locked)

        self.run(resolve())

    def jobs(self) -> dict[str, str]:
        """By name, the compute that each job names."""
        with self.db.engine.connect() as connection:
            return {
                row.name: row.spec["compute"] for row in connection.execute(sa.select(t.jobs.c.name, t.jobs.c.spec))
            }

    def _ask(self, question: Coroutine[Any, Any, object]) -> None:
        """A user's request; a refusal is an answer too."""
        try:
            self.run(question)
        except UltramarineError:
            self.happened["refused"] += 1

    # The end

    def calm_down(self) -> None:
        """The storm is over: machines and messages are reliable, clocks go steadily, everybody is heard again."""
        self.storm, self.target.faults = NO_STORM, CALM
        for server in self.servers:
            server.still_until = 0.0
        for runner in self.runners.values():
            runner.cut_off_until = 0.0
        self.resolve_slow()

    def calm_step(self) -> None:
        """Everybody's turn, and a second."""
        self.now += 2.0
        self._begin_runners()
        for server in self.servers:
            self.advance(server, whole=True)
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
        return runs == 0 and allocations == 0 and not self.target.machines


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

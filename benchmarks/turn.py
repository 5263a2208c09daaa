"""One turn of the scheduler with a long queue and many nodes, and what the event loop feels of it.

    .venv/bin/python -m benchmarks.turn [--queued 10000] [--nodes 1000]

Clusters of 50 nodes, each node at work, and a queue behind them, in SQLite on the disk. The first turn writes why each
run waits; the others find nothing to do, as most turns do. The peer is the floor below any turn: one SELECT that
fetches the same rows as they are.
"""

import argparse
import asyncio
import sqlite3
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
import uvloop
from tests import factories

from benchmarks import measure
from benchmarks.measure import Row, Series
from ultramarine.controllers.runs import RunLoop
from ultramarine.domain.allocation import Allocation, AllocationStatus
from ultramarine.domain.compute import Compute
from ultramarine.domain.host import THIS_MACHINE
from ultramarine.domain.names import AllocationKey, NodeKey, RunKey
from ultramarine.domain.run import Run, RunReport, RunStatus
from ultramarine.drivers.protocol import Observation
from ultramarine.planning.seen import AllocationNews, NodeNews
from ultramarine.server import collector
from ultramarine.services.context import Context
from ultramarine.store import allocations, computes, hosts, runs, tables
from ultramarine.store.database import AsyncDatabase, Tx
from ultramarine.store.migration import migrate

TURN_GOAL_MS, LAG_GOAL_MS = 1000.0, 50.0
NODES_EACH = 50
TURNS = 7


class Standing:
    """A target whose allocations are up and stay so."""

    kind: ClassVar[str] = "standing"

    def __init__(self, keys: Sequence[AllocationKey]) -> None:
        self._seen = {key: AllocationNews(state="up") for key in keys}

    async def allocate(self, allocation: Allocation) -> None: ...

    async def observe(self) -> Observation:
        return self._seen

    async def release(self, key: AllocationKey, *, grace_s: float) -> None: ...

    async def forget(self, key: AllocationKey) -> None: ...


async def filled(ctx: Context, *, queued: int, nodes: int) -> list[AllocationKey]:
    """Write it all; the nodes' reports are heard, too."""
    now, keys = ctx.clock(), list[AllocationKey]()
    clusters = [
        factories.make_cluster(f"c{each}", max_instances=min(NODES_EACH, nodes), idle_time_before_scale_down=3600)
        for each in range(max(1, nodes // NODES_EACH))
    ]
    async with ctx.begin() as tx:
        await hosts.put(tx, factories.make_host(total=factories.cpus(nodes * 2)))
        for compute in clusters:
            await computes.add(tx, compute)
        for number in range(nodes):
            keys.append(await _busy_node(ctx, tx, number, clusters[number % len(clusters)], now))
        for number in range(min(queued, len(clusters))):
            run = factories.make_run(f"q{number}", compute=clusters[number].id, created_at=now, changed_at=now)
            await runs.add(tx, run, _SPEC)
        await _more_like_these(tx, queued - len(clusters))
    return keys


async def _more_like_these(tx: Tx, more: int) -> None:
    """Copies of the queued runs, in turn: written by the database itself, as a hundred thousand take minutes else."""
    own = ("seq", "key", "owner_id", "owner_name", "asked_at")
    plain = [c.name for c in tables.runs.c if c.name not in own]
    copied = ", ".join(f'q."{name}"' for name in plain)
    named = ", ".join(f'"{name}"' for name in plain)
    await tx.execute(
        sa.text(
            f"WITH RECURSIVE c(n) AS (SELECT 0 WHERE :more > 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < :more), "
            "q AS (SELECT *, row_number() OVER (ORDER BY seq) - 1 AS at FROM runs WHERE status = 'Queued') "
            f"INSERT INTO runs (key, owner_id, owner_name, asked_at, {named}) "
            f"SELECT q.key || '-' || c.n, q.owner_id || '-' || c.n, q.owner_name || '-' || c.n, q.asked_at + c.n + 1, "
            f"{copied} "
            "FROM c JOIN q ON q.at = c.n % (SELECT count(*) FROM q) ORDER BY c.n"
        ),
        {"more": more},
    )


_SPEC: dict[str, Any] = {"command": "true", "experiment": "Default", "environment_variables": {}, "environment": None}


async def _busy_node(ctx: Context, tx: Tx, number: int, compute: Compute, now: datetime) -> AllocationKey:
    allocation = factories.make_allocation(
        number, compute=compute, status=AllocationStatus.UP, created_at=now, changed_at=now, up_at=now
    )
    node: NodeKey = allocation.node
    run: Run = factories.make_run(
        f"r{number}",
        compute=compute.id,
        created_at=now,
        changed_at=now,
        started_at=now,
        status=RunStatus.RUNNING,
        nodes=(node,),
        master=None,
    )
    await allocations.add(tx, allocation)
    await allocations.add_node(tx, replace(factories.make_node(allocation), used_at=now))
    await runs.add(tx, run, _SPEC)
    ctx.hub.report(node, NodeNews(heard_at=now, runs={RunKey(run.key): RunReport(phase="running")}), {})
    return allocation.key


async def lag_ms(until: "asyncio.Future[None] | asyncio.Task[None]") -> float:
    """The longest that the event loop kept a timer of 5 ms waiting."""
    longest = 0.0
    while not until.done():
        begin = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - begin - 0.005)
    return longest * 1000


@asynccontextmanager
async def standing(folder: Path, *, queued: int, nodes: int) -> AsyncGenerator[RunLoop]:
    """The loop of a control plane that has just started, over all that is in its store."""
    url = f"sqlite:///{folder / 'a.db'}"
    migrate(url)
    db = AsyncDatabase(url)
    ctx = factories.make_context(db, folder, clock=lambda: datetime.now(UTC))
    ctx.hub.listen_anew(THIS_MACHINE, ctx.clock())
    loop = RunLoop(ctx, Standing(await filled(ctx, queued=queued, nodes=nodes)), owner="bench")
    collector.settle()  # as the control plane does
    yield loop
    await db.close()


async def measured(folder: Path, *, queued: int, nodes: int) -> Sequence[Row]:
    turns: list[tuple[float, float]] = []
    floors: list[float] = []
    async with standing(folder, queued=queued, nodes=nodes) as loop:
        first = await _turn(loop)
        for _ in range(TURNS):
            turns.append(await _turn(loop))
            floors.append(measure.ms(lambda: _floor(folder)))
    took, floor = Series([took for took, _ in turns]), Series(floors)
    lag = Series([lag for _, lag in turns])
    what = f"{queued:,} queued × {nodes:,} nodes"
    return [
        Row(
            what=f"one turn, {what}",
            figure=f"{took}; the first, with its reasons, {measure.number(first[0])} ms",
            beside=f"SELECT of the same rows {floor}",
            ratio=f"{took.median / floor.median:.1f}×",
            goal=f"≤ {TURN_GOAL_MS:g} ms",
            is_met=took.median <= TURN_GOAL_MS,
        ),
        Row(
            what=f"event-loop lag in a turn, {what}",
            figure=f"{lag}, the first {measure.number(first[1])} ms",
            goal=f"≤ {LAG_GOAL_MS:g} ms",
            is_met=lag.median <= LAG_GOAL_MS,
        ),
    ]


async def _turn(loop: RunLoop) -> tuple[float, float]:
    begin = time.perf_counter()
    turn = asyncio.create_task(loop.tick())
    watched = asyncio.create_task(lag_ms(turn))
    await turn
    took = (time.perf_counter() - begin) * 1000
    return took, await watched


def _floor(folder: Path) -> None:
    with sqlite3.connect(folder / "a.db") as database:
        for query in ("SELECT * FROM runs", "SELECT * FROM allocations", "SELECT * FROM nodes"):
            database.execute(query).fetchall()


def rows(*, queued: int, nodes: int) -> Sequence[Row]:
    with tempfile.TemporaryDirectory(prefix="um-bench-") as folder:
        return uvloop.run(measured(Path(folder), queued=queued, nodes=nodes))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--queued", type=int, default=10_000)
    arguments.add_argument("--nodes", type=int, default=1_000)
    given = arguments.parse_args()
    measure.show(rows(queued=given.queued, nodes=given.nodes))


if __name__ == "__main__":
    main()

"""What the store promises, on SQLite and on PostgreSQL alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest
import sqlalchemy as sa
from tests.factories import (
    NOON,
    later,
    make_allocation,
    make_cluster,
    make_host,
    make_job,
    make_local,
    make_node,
    make_run,
)

from ultramarine.domain.allocation import AllocationEvent, AllocationStatus
from ultramarine.domain.errors import Conflict, IllegalTransition, InvalidInput, NotFound, StaleWrite
from ultramarine.domain.identity import Role, Token
from ultramarine.domain.names import JobId, NodeKey, RunKey
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.run import Cause, Ending, Master, Peer, RunEvent, RunStatus
from ultramarine.domain.size import Amount
from ultramarine.store import allocations, computes, events, hosts, installation, jobs, leases, runs
from ultramarine.store import tables as t
from ultramarine.store.database import AsyncDatabase, Database, Tx
from ultramarine.store.known import KEYS_MAX
from ultramarine.store.migration import migrate

T = TypeVar("T")
TTL = timedelta(seconds=15)


class Undone(Exception):
    pass


def test_migrations_make_exactly_the_tables_that_the_code_uses(url: str) -> None:
    migrate(url)
    migrate(url)  # a second start changes nothing
    engine = sa.create_engine(url)
    found = sa.inspect(engine)
    made = {name: {c["name"] for c in found.get_columns(name)} for name in found.get_table_names()}
    indexes = {name: {i["name"] for i in found.get_indexes(name)} for name in made}
    engine.dispose()
    assert made.pop("alembic_version")
    assert made == {table.name: set(table.c.keys()) for table in t.metadata.tables.values()}
    for table in t.metadata.tables.values():
        assert {index.name for index in table.indexes} <= indexes[table.name]


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    migrate(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(Conflict, match="schema 9999, which this version of Ultramarine does not know"):
        migrate(url)


async def test_what_is_written_is_read_again(db: Database) -> None:
    run = make_run(
        "j1",
        need=Amount(cpus_milli=500, memory_bytes=1),
        nodes=(make_allocation().node,),
        checkpoint="1" * 64,
        master=Master(address="a", port=1, peers=(Peer(address="a", ports=(1, 2)),)),
        ending=Ending(cause=Cause.EXITED, code=1, words="No.", outputs={"model": "0" * 64}),
        started_at=later(1.5),
    )
    allocation, local = make_allocation(gpu_ids=("G0",), status=AllocationStatus.UP, up_at=later(2)), make_local()
    async with db.begin() as tx:
        await runs.add(tx, run, {"command": "x"})
        await jobs.add(tx, make_job())
        await allocations.add(tx, allocation)
        await allocations.add_node(tx, make_node(allocation))
        await computes.add(tx, local)
        await hosts.put(tx, make_host(gpu_ids=("G0",)))
    async with db.read() as tx:
        assert await runs.get(tx, run.key) == run
        assert await runs.specs(tx, [run.key]) == {run.key: {"command": "x"}}
        assert await jobs.get(tx, "w", "j1") == make_job()
        assert list(await allocations.open_ones(tx)) == [allocation]
        assert list(await allocations.nodes(tx)) == [make_node(allocation)]
        assert list(await computes.every(tx)) == [local]
        assert (await hosts.every(tx))[0].gpu_ids == ("G0",)


async def test_a_move_and_its_event_are_one_transaction(db: Database) -> None:
    run = make_run("j1")
    async with db.begin() as tx:
        await runs.add(tx, run, {})

    async def undo() -> None:
        async with db.begin() as tx:
            await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=NOON)
            raise Undone

    with pytest.raises(Undone):
        await undo()
    async with db.read() as tx:
        assert (await runs.get(tx, run.key)).status is RunStatus.QUEUED
        assert [h.event for h in (await events.of(tx, "j1", PageRequest())).rows] == ["created"]
    async with db.begin() as tx:
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=later(1), reason="Asked.")
    async with db.read() as tx:
        told = (await events.of(tx, "j1", PageRequest())).rows[-1]
    assert (told.event, told.status, told.reason, told.at) == ("cancel_asked", "Canceled", "Asked.", later(1))


async def test_a_write_from_an_older_copy_is_refused(db: Database) -> None:
    run, allocation, host = make_run("j1"), make_allocation(), make_host()
    async with db.begin() as tx:
        await runs.add(tx, run, {})
        await allocations.add(tx, allocation)
        await hosts.put(tx, host)
    async with db.begin() as tx:
        await runs.record(tx, run, RunEvent.PLACED, now=NOON)
        await allocations.record(tx, allocation, AllocationEvent.REQUESTED, now=NOON)
        await hosts.claim(tx, [host])
    writes: list[Callable[[Tx], Awaitable[object]]] = [
        lambda tx: runs.record(tx, run, RunEvent.CANCEL_ASKED, now=NOON),
        lambda tx: allocations.record(tx, allocation, AllocationEvent.SAID_HELLO, now=NOON),
        lambda tx: hosts.claim(tx, [host]),
    ]
    for write in writes:
        with pytest.raises(StaleWrite):
            async with db.begin() as tx:
                await write(tx)


async def test_placement_and_drain_on_one_copy_of_a_node_exclude_each_other(db: Database) -> None:
    node = make_node()
    async with db.begin() as tx:
        await allocations.add_node(tx, node)
    async with db.begin() as tx:
        await allocations.use(tx, [node], now=NOON)
    with pytest.raises(StaleWrite):
        async with db.begin() as tx:
            await allocations.use(tx, [node], now=NOON)


async def test_an_illegal_move_writes_nothing(db: Database) -> None:
    run = make_run("j1")
    async with db.begin() as tx:
        await runs.add(tx, run, {})
    with pytest.raises(IllegalTransition):
        async with db.begin() as tx:
            await runs.record(tx, run, RunEvent.STARTED, now=NOON)
    async with db.read() as tx:
        assert await runs.get(tx, run.key) == run


async def test_a_lease_is_held_by_one_until_it_has_run_out(db: Database) -> None:
    async def hold(owner: str, seconds: float) -> int | None:
        async with db.begin() as tx:
            return await leases.hold(tx, "pool", owner=owner, now=later(seconds), ttl=TTL)

    assert await hold("a", 0) == 1
    assert await hold("b", 14) is None
    assert await hold("a", 14) == 1, "keeping it is no new generation"
    assert await hold("b", 30) == 2
    assert await hold("a", 31) is None
    assert await hold("a", -3600) == 3, "a lease from before the clock was set back is over"


async def test_an_act_of_who_does_not_lead_any_more_is_refused(db: Database) -> None:
    async with db.begin() as tx:
        first = await leases.hold(tx, "pool", owner="a", now=later(0), ttl=TTL)
        assert first is not None
        await leases.check(tx, "pool", owner="a", generation=first)
    async with db.begin() as tx:
        second = await leases.hold(tx, "pool", owner="b", now=later(3600), ttl=TTL)
    assert second is not None
    for owner, generation in (("a", first), ("a", second), ("b", first)):
        with pytest.raises(StaleWrite):
            async with db.begin() as tx:
                await leases.check(tx, "pool", owner=owner, generation=generation)
    async with db.begin() as tx:
        await leases.check(tx, "pool", owner="b", generation=second)


async def test_of_two_that_take_a_free_lease_at_once_one_gets_it(url: str) -> None:
    migrate(url)
    servers = [AsyncDatabase(url), AsyncDatabase(url)]

    async def take(number: int, round: int, seconds: float) -> int | None:
        async with servers[number].begin() as tx:
            return await leases.hold(tx, f"pool-{round}", owner=f"s{number}", now=later(seconds), ttl=TTL)

    for round in range(10):
        for seconds in (0, 60):  # a new one, then one that has run out
            got = await asyncio.gather(take(0, round, seconds), take(1, round, seconds))
            assert sum(held is not None for held in got) == 1
    for server in servers:
        await server.close()


async def test_of_writers_at_once_none_is_lost(db: Database) -> None:
    async with db.begin() as tx:
        await hosts.put(tx, make_host())

    async def claim() -> int:
        for tries in range(200):
            async with db.read() as tx:
                (host,) = await hosts.every(tx)
            try:
                async with db.begin() as tx:
                    await hosts.claim(tx, [host])
            except StaleWrite:
                continue
            return tries
        raise AssertionError("it never got through")

    await asyncio.gather(*(claim() for _ in range(8)))
    async with db.read() as tx:
        assert (await hosts.every(tx))[0].version == 9


async def test_a_reader_sees_one_moment(db: Database) -> None:
    async with db.read() as tx:
        before = await runs.open_ones(tx)
        async with db.begin() as other:
            await runs.add(other, make_run("j1"), {})
        assert await runs.open_ones(tx) == before == []
    async with db.read() as tx:
        assert len(await runs.open_ones(tx)) == 1


async def test_pages_of_jobs_hold_each_once_the_newest_first(db: Database) -> None:
    async with db.begin() as tx:
        for n in range(7):
            await jobs.add(tx, make_job(id=JobId(f"j{n}"), name=f"j{n}"))
            await runs.add(tx, make_run(f"j{n}"), {})
    read = await every_page(db, lambda tx, request: jobs.page(tx, "w", request), limit=3)
    assert [row["name"] for row in read] == [f"j{n}" for n in reversed(range(7))]


async def test_pages_go_by_name_by_number_and_by_time(db: Database) -> None:
    names = ["B", "a", "a-1", "b", "b_2"]
    async with db.begin() as tx:
        for n, name in enumerate(names):
            await computes.add(tx, make_cluster(id=f"c{n}", name=name))
            await allocations.add(tx, make_allocation(n, compute=make_cluster(), created_at=later(n // 2)))
            token = Token(id=f"t{n}", subject=name, workspace="w", role=Role.READER, created_at=later(n // 3))
            await installation.add_token(tx, token, sha256=name)
    by_name = await every_page(db, lambda tx, request: computes.page(tx, "w", request), limit=2)
    assert sorted(each.name for each in by_name) == sorted(names)
    assert len(by_name) == len(names)
    by_age = await every_page(db, lambda tx, request: allocations.of_compute(tx, "c1", request), limit=2)
    assert [each.created_at for each in by_age] == [later(n // 2) for n in range(5)]
    tokens = await every_page(db, installation.tokens, limit=2)
    assert [each.id for each in tokens] == ["t0", "t1", "t2", "t3", "t4"]
    for cursor in ("1", "1,2,3", "x,t0", "99999999999999999999999,t0", "1,\0", "9223372036854775807,t0"):
        with pytest.raises(InvalidInput, match="no place in this list"):
            async with db.read() as tx:
                await installation.tokens(tx, PageRequest(after=cursor))


async def every_page(db: Database, page: Callable[[Tx, PageRequest], Awaitable[Page[T]]], *, limit: int) -> list[T]:
    found: list[T] = []
    after = ""
    while True:
        async with db.read() as tx:
            one = await page(tx, PageRequest(after=after, limit=limit))
        found += one.rows
        if one.next is None:
            return found
        assert len(one.rows) == limit
        after = one.next


async def test_the_queue_is_ordered_by_priority_then_age_without_what_has_ended(db: Database) -> None:
    made = [make_run(name, priority=p) for name, p in (("a", 0), ("b", 1), ("c", 0), ("d", -1), ("gone", 1))]
    async with db.begin() as tx:
        for run in made:
            await runs.add(tx, run, {})
        await runs.record(tx, made[-1], RunEvent.CANCEL_ASKED, now=NOON)
    async with db.read() as tx:
        assert [run.owner_name for run in await runs.open_ones(tx)] == ["b", "a", "c", "d"]


async def test_who_reads_the_queue_again_sees_all_that_has_changed_since(db: Database) -> None:
    made, known = [make_run(name) for name in "abcd"], runs.known()
    async with db.begin() as tx:
        for run in made[:3]:
            await runs.add(tx, run, {})
    async with db.read() as tx:
        assert await known.again(tx) == made[:3]
    async with db.begin() as tx:
        await runs.record(tx, made[0], RunEvent.CANCEL_ASKED, now=NOON)  # it ends
        await runs.record(tx, made[1], RunEvent.PLACED, now=NOON, changes={"nodes": (NodeKey("e1-c1-1.0"),)})
        await runs.add(tx, made[3], {})
    async with db.read() as tx:
        again = await known.again(tx)
        assert again == await runs.open_ones(tx)
    assert [(run.owner_name, run.status.value) for run in again] == [
        ("b", "Preparing"),
        ("c", "Queued"),
        ("d", "Queued"),
    ]


async def test_what_its_reader_has_written_is_known_in_its_order_without_being_read(db: Database) -> None:
    first, urgent, waits = make_run("a"), make_run("b", priority=1), make_run("c")
    known = runs.known()
    async with db.begin() as tx:
        for run in (first, waits):
            await runs.add(tx, run, {})
    async with db.read() as tx:
        await known.again(tx)
    async with db.begin() as tx:
        over = await runs.record(tx, first, RunEvent.CANCEL_ASKED, now=NOON)
        await runs.add(tx, urgent, {})
        await runs.explain(tx, {waits.key: "It waits."})  # no new version
    known.put([over, urgent, replace(waits, reason="It waits.")])
    async with db.read() as tx:
        assert await known.again(tx) == await runs.open_ones(tx) == [urgent, replace(waits, reason="It waits.")]
        assert known.get(urgent.key) is urgent


async def test_who_reads_allocations_and_nodes_again_sees_all_that_has_changed_since(db: Database) -> None:
    made, known, nodes = [make_allocation(n) for n in range(4)], allocations.known(), allocations.known_nodes()
    async with db.begin() as tx:
        for one in made[:3]:
            await allocations.add(tx, one)
            await allocations.add_node(tx, make_node(one))
    async with db.read() as tx:
        assert await known.again(tx) == made[:3]
        assert await nodes.again(tx) == [make_node(one) for one in made[:3]]
    async with db.begin() as tx:
        await allocations.record(tx, made[0], AllocationEvent.FOUND_ENDED, now=NOON)  # its node goes
        await allocations.record(tx, made[1], AllocationEvent.DRAIN_ASKED, now=NOON)
        await allocations.use(tx, [make_node(made[2])], now=later(1))
        await allocations.add(tx, made[3])
        await allocations.add_node(tx, make_node(made[3]))
    async with db.read() as tx:
        assert await known.again(tx) == await allocations.open_ones(tx)
        assert await nodes.again(tx) == await allocations.nodes(tx)
        assert [each.status.value for each in await known.again(tx)] == ["Ended", "Draining", "Wanted", "Wanted"]
        assert [(each.allocation, each.version) for each in await nodes.again(tx)] == [
            (made[1].key, 1),
            (made[2].key, 2),
            (made[3].key, 1),
        ]


async def test_more_rows_than_one_statement_names_are_known_again_too(db: Database) -> None:
    made, known = [make_run(f"a{n}") for n in range(KEYS_MAX + 2)], runs.known()
    async with db.begin() as tx:
        for run in made:
            await runs.add(tx, run, {})
    async with db.read() as tx:
        assert await known.again(tx) == made
    async with db.begin() as tx:
        await runs.record(tx, made[7], RunEvent.CANCEL_ASKED, now=NOON)
        await runs.record(tx, made[8], RunEvent.PLACED, now=NOON)
    async with db.read() as tx:
        assert await known.again(tx) == await runs.open_ones(tx)
    async with db.begin() as tx:
        for run in made[9:]:
            await runs.record(tx, run, RunEvent.PLACED, now=NOON)
    async with db.read() as tx:
        assert await known.again(tx) == await runs.open_ones(tx)


async def test_a_checkpoint_is_kept_without_an_event_and_no_older_copy_takes_it_back(db: Database) -> None:
    run, over = make_run("a"), make_run("b")
    async with db.begin() as tx:
        for each in (run, over):
            await runs.add(tx, each, {})
    known = runs.known()
    async with db.read() as tx:
        await known.again(tx)
    async with db.begin() as tx:
        await runs.record(tx, over, RunEvent.CANCEL_ASKED, now=NOON)
        await runs.keep_checkpoints(tx, {run.key: "1" * 64, over.key: "2" * 64})
    async with db.read() as tx:
        assert [each.checkpoint for each in await known.again(tx)] == ["1" * 64]
        assert (await runs.get(tx, over.key)).checkpoint is None, "it had ended"
        assert [told.event for told in (await events.of(tx, "a", PageRequest())).rows] == ["created"]
    with pytest.raises(StaleWrite):
        async with db.begin() as tx:
            await runs.record(tx, run, RunEvent.PLACED, now=NOON)
    async with db.begin() as tx:
        placed = await runs.record(tx, await runs.get(tx, run.key), RunEvent.PLACED, now=NOON)
    assert placed.checkpoint == "1" * 64


async def test_what_is_not_there_is_not_found(db: Database) -> None:
    async with db.read() as tx:
        for ask in (jobs.get(tx, "w", "x"), runs.get(tx, RunKey("x")), allocations.get(tx, "x")):
            with pytest.raises(NotFound):
                await ask

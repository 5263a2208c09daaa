"""A PostgreSQL that dies and comes back: what the store says meanwhile, and that it goes on."""

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from tests.e2e.installation import free_ports
from tests.postgresql import PostgreSQL, postgresql

from ultramarine.domain.database import for_sqlalchemy
from ultramarine.domain.errors import StaleWrite, Unavailable
from ultramarine.domain.names import Epoch
from ultramarine.store import installation
from ultramarine.store.database import Database
from ultramarine.store.migration import migrate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOCK = sa.text("SELECT pg_advisory_xact_lock(:key)")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql(free_ports()) as made:
        yield made


@pytest.fixture
def url(server: PostgreSQL) -> str:
    return for_sqlalchemy(server.new_database())


async def found(db: Database, epoch: str) -> None:
    async with db.begin() as tx:
        await installation.found(tx, Epoch(epoch), now=NOW)


async def epoch(db: Database) -> str | None:
    async with db.read() as tx:
        return await installation.epoch(tx)


async def test_while_it_is_away_it_is_said_where_and_why_and_then_it_goes_on(server: PostgreSQL, db: Database):
    await found(db, "e1")
    await asyncio.gather(*(epoch(db) for _ in range(4)))  # connections of before, which the pool keeps
    server.kill()
    try:
        for asked in (epoch(db), found(db, "e2")):
            with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{server.port}/t\w+ does not answer: .*refused") as no:
                await asked
            assert server.password not in f"{no.value} {no.value.hint} {no.value.__cause__}"
    finally:
        server.start()
    assert [await epoch(db) for _ in range(6)] == ["e1"] * 6


async def test_connections_that_it_has_dropped_are_not_noticed_by_who_begins(server: PostgreSQL, db: Database):
    await found(db, "e1")
    await asyncio.gather(*(epoch(db) for _ in range(4)))
    server.kill()
    server.start()
    assert [await epoch(db) for _ in range(6)] == ["e1"] * 6


async def test_what_was_written_when_it_died_is_undone(server: PostgreSQL, db: Database):
    async def write() -> None:
        async with db.begin() as tx:
            await installation.found(tx, Epoch("e1"), now=NOW)
            server.kill()
            await installation.epoch(tx)

    with pytest.raises(Unavailable):
        await write()
    server.start()
    assert await epoch(db) is None


async def test_of_two_in_each_others_way_one_has_lost_a_race(db: Database):
    first_has, second_has = asyncio.Event(), asyncio.Event()

    async def take(own: int, other: int, mine: asyncio.Event, theirs: asyncio.Event) -> None:
        async with db.begin() as tx:
            await tx.execute(LOCK, {"key": own})
            mine.set()
            await theirs.wait()
            await tx.execute(LOCK, {"key": other})

    ends = await asyncio.gather(
        take(1, 2, first_has, second_has), take(2, 1, second_has, first_has), return_exceptions=True
    )
    assert [type(end) for end in ends if end is not None] == [StaleWrite]


async def test_who_reads_slowly_holds_up_nobody_else(db: Database):
    """The lock is let go by the same event loop that the reader would stand still with."""

    async def read() -> None:
        async with db.read() as tx:
            await tx.execute(LOCK, {"key": 1})

    async with asyncio.timeout(20):
        async with db.begin() as tx:
            await tx.execute(LOCK, {"key": 1})
            reading = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            assert not reading.done()
        await reading


def test_a_start_says_what_is_wrong_and_no_password(server: PostgreSQL, url: str):
    wrong = {
        "password authentication failed": url.replace(server.password, "guess"),
        "does not exist": f"{url}-not",
        "Connection refused": url.replace(f":{server.port}/", ":1/"),
    }
    for words, address in wrong.items():
        with pytest.raises(Unavailable, match=words) as no:
            migrate(address)
        assert server.password not in str(no.value)
        assert "guess" not in f"{no.value}{no.value.hint}"
    with tempfile.TemporaryDirectory() as empty, pytest.raises(Unavailable, match="No such file"):
        migrate(for_sqlalchemy(f"postgresql:///um?host={empty}"))

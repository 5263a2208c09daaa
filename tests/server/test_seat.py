"""Of the servers of one PostgreSQL one leads; what the others say, and when they follow. A real database."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import sqlalchemy as sa
from starlette.responses import PlainTextResponse
from tests.e2e.installation import free_ports
from tests.postgresql import PostgreSQL, postgresql

from ultramarine.domain.database import for_sqlalchemy
from ultramarine.domain.errors import StandsBy, Unavailable
from ultramarine.server.door import Door
from ultramarine.server.seat import OURS_S, WATCH_S, Lost, Seat
from ultramarine.store import tables as t


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql(free_ports()) as made:
        yield made


class Two:
    """Two servers, whose own clocks go as the test says; `run_out`: so does the lease, on the database's."""

    def __init__(self, url: str) -> None:
        self.url, self.now = url, 1000.0
        self.a, self.b = (Seat(url, owner=owner, clock=lambda: self.now) for owner in ("a", "b"))

    def run_out(self) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE leases SET until = 0"))
        engine.dispose()

    async def b_has_followed(self) -> None:
        assert not await self.b.take()
        self.now += WATCH_S
        self.run_out()
        assert await self.b.take()


@pytest.fixture
async def two(server: PostgreSQL) -> AsyncIterator[Two]:
    made = Two(for_sqlalchemy(server.new_database()))
    assert await made.a.take()
    yield made
    await made.a.close()
    await made.b.close()


async def test_who_comes_first_leads_and_the_other_says_who_that_is(two: Two):
    assert not await two.b.take()
    assert (two.a.is_ours, two.b.is_ours) == (True, False)
    assert isinstance(two.b.why, StandsBy)
    assert "a leads" in str(two.b.why)
    assert await two.a.take(), "keeping it"


async def test_one_that_is_kept_is_not_taken_however_long_it_is_watched(two: Two):
    for _ in range(5):
        assert not await two.b.take()
        two.now += WATCH_S
        assert await two.a.take()
    assert not await two.b.take()


async def test_the_leader_knows_by_itself_that_it_leads_no_more_before_another_may(two: Two):
    assert OURS_S < WATCH_S
    two.now += OURS_S
    assert not two.a.is_ours
    assert "another may lead" in str(two.a.why)


async def test_who_led_before_another_did_must_begin_anew(two: Two):
    await two.b_has_followed()
    with pytest.raises(Lost):
        await two.a.take()
    assert not two.a.is_ours
    assert "b leads" in str(two.a.why)


async def test_the_generation_counts_and_not_who_leads_now(two: Two):
    """Led by another meanwhile, and now by nobody: what was known is old all the same."""
    await two.b_has_followed()
    engine = sa.create_engine(two.url)
    with engine.begin() as connection:
        connection.execute(t.leases.update().values(owner=""))
    engine.dispose()
    with pytest.raises(Lost):
        await two.a.take()


async def test_after_an_outage_of_the_database_the_leader_goes_on(server: PostgreSQL, two: Two):
    assert not await two.b.take()
    server.kill()
    for seat in (two.a, two.b):
        with pytest.raises(Unavailable, match="does not answer"):
            await seat.take()
    two.now += 10 * WATCH_S
    server.start()
    two.run_out()
    assert not await two.b.take(), "it watches anew"
    assert await two.a.take()
    assert two.a.is_ours


async def test_the_door_answers_for_who_leads_and_says_why_not_for_who_does_not(two: Two):
    door = Door(two.b)
    transport = httpx.ASGITransport(app=door)
    async with httpx.AsyncClient(transport=transport, base_url="http://um") as client:
        assert (await client.get("/healthz")).status_code == 503, "it has not asked yet"
        assert (await client.get("/api/v1/status")).json()["detail"] == "The server is starting."
        assert not await two.b.take()
        assert (await client.get("/healthz")).status_code == 200, "standing by is well"
        refused = await client.get("/api/v1/status")
        assert (refused.status_code, refused.json()["code"]) == (503, "stands-by")
        assert refused.headers["retry-after"] == "1"
        await two.b_has_followed()
        door.app = PlainTextResponse("the API")
        assert (await client.get("/api/v1/status")).text == "the API"
        two.now += OURS_S
        assert (await client.get("/api/v1/status")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200, "it is not for the supervisor to kill"

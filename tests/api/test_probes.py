"""Replicas that hang, refuse or say that they are not ready: what is found out, and what follows from it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.api.conftest import Api
from tests.factories import later
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.controllers.probes import ProbeLoop
from ultramarine.domain.endpoint import DeploymentSpec
from ultramarine.domain.run import RunEvent
from ultramarine.planning.probing import Kind
from ultramarine.store import endpoints, runs

PROBES = {
    "liveness_probe": {"initial_delay": 0, "period": 1, "timeout": 1, "failure_threshold": 2},
    "readiness_probe": {"initial_delay": 0, "period": 1, "timeout": 1, "failure_threshold": 1},
}
REPLICA = make_replica(1)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="um-") as folder:
        yield Path(folder)


@asynccontextmanager
async def replica_at(socket: Path, status_of: Callable[[str], int | None]) -> AsyncGenerator[None]:
    """`status_of`: by path; None: it hangs."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        if (status := status_of(path)) is not None:
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
            writer.close()
        else:
            await reader.read()

    server = await asyncio.start_unix_server(answer, socket)
    try:
        yield
    finally:
        server.close()


async def probed(api: Api, socket: Path, *, turns: int) -> dict[Kind, bool]:
    """Whether it is well, by kind, after so many probes."""
    now = [0]
    ctx = replace(api.ctx, clock=lambda: later(now[0]))
    spec = DeploymentSpec.model_validate(make_deployment().spec.body() | PROBES)
    async with ctx.begin() as tx:
        await endpoints.add(tx, make_endpoint())
        await endpoints.add_deployment(tx, make_deployment(spec=spec))
        await runs.add(tx, replace(REPLICA, sockets={"http": f"unix:{socket}"}, started_at=later(0)), {})
    loop = ProbeLoop(ctx)
    for _ in range(turns):
        now[0] += 1
        await loop.tick()
        await loop.settle()
        await loop.tick()
    return {kind: probing.is_well for (_, kind), probing in ctx.hub.probings.items()}


async def test_one_that_answers_is_alive_and_ready(api: Api, short: Path) -> None:
    async with replica_at(short / "s", lambda path: 200):
        assert await probed(api, short / "s", turns=4) == {Kind.LIVENESS: True, Kind.READINESS: True}
    assert api.ctx.hub.is_ready(REPLICA.key)


async def test_one_that_says_itself_that_it_hangs_is_dead(api: Api, short: Path) -> None:
    async with replica_at(short / "s", lambda path: 503 if path == "/health/live" else 200):
        assert await probed(api, short / "s", turns=4) == {Kind.LIVENESS: False, Kind.READINESS: True}


async def test_one_that_says_it_is_not_ready_lives_and_gets_no_requests(api: Api, short: Path) -> None:
    async with replica_at(short / "s", lambda path: 503 if path == "/health/ready" else 200):
        assert await probed(api, short / "s", turns=4) == {Kind.LIVENESS: True, Kind.READINESS: False}
    assert not api.ctx.hub.is_ready(REPLICA.key)
    view = (await api.ask("GET", "/api/v1/workspaces/w/online-endpoints/cancer/deployments/blue")).json()
    assert view["replicas"][0]["why"] == "Its readiness probe failed once: it answered 503."


@pytest.mark.parametrize("is_there", [True, False])
async def test_one_that_hangs_or_does_not_listen_is_given_up(api: Api, short: Path, is_there: bool) -> None:
    async with replica_at(short / ("s" if is_there else "other"), lambda path: None):
        assert await probed(api, short / "s", turns=3) == {Kind.LIVENESS: False, Kind.READINESS: False}


async def test_what_is_known_of_a_replica_that_is_gone_is_forgotten(api: Api, short: Path) -> None:
    async with replica_at(short / "s", lambda path: 200):
        await probed(api, short / "s", turns=1)
    async with api.ctx.begin() as tx:
        await endpoints.remove(tx, "w", "cancer")
        run = await runs.get(tx, REPLICA.key)
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=later(9))
    await ProbeLoop(api.ctx).tick()
    assert api.ctx.hub.probings == {}

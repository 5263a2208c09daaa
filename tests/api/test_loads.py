"""What replicas say they have to do, and where it is told."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import Api
from tests.factories import later
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.controllers.loads import LoadLoop
from ultramarine.domain.usage import RankUse
from ultramarine.services.context import Context
from ultramarine.store import endpoints, runs
from ultramarine_serving.http.server import Address, Request, Response, serve

REPLICA = make_replica(1, workspace="w", owner_name="cancer/blue")
LOAD = {"workers": 2, "requests": 80, "calls": 10, "waiting": 3, "in_work": 1}


@asynccontextmanager
async def replica_that_says(*answers: Any) -> AsyncGenerator[Path]:
    """One answer after the other, the last again and again."""
    left = list(answers)

    def answer(request: Request) -> Response:
        said = left.pop(0) if len(left) > 1 else left[0]
        return Response(200 if request.path == "/load" else 404, [], json.dumps(said).encode())

    with TemporaryDirectory(prefix="um-") as folder:
        socket = Path(folder) / "s"
        server = await serve(answer, listeners=[Address(path=str(socket))])
        try:
            yield socket
        finally:
            await server.drain(0)


async def looked(api: Api, socket: Path, *, at_s: tuple[float, ...] = (0,)) -> Context:
    now = [0.0]
    ctx = replace(api.ctx, clock=lambda: later(now[0]))
    async with ctx.begin() as tx:
        await endpoints.add(tx, make_endpoint())
        await endpoints.add_deployment(tx, make_deployment())
        await runs.add(tx, replace(REPLICA, sockets={"http": f"unix:{socket}"}), {})
    loop = LoadLoop(ctx)
    for second in at_s:
        now[0] = second
        await loop.tick()
    return ctx


async def test_it_is_shown_with_the_replica_and_told_to_prometheus(api: Api) -> None:
    async with replica_that_says(LOAD) as socket:
        await looked(api, socket)
    use = RankUse(rank="0", is_alone=True, values={"cpu_percent": 37.5, "memory_bytes": 2.5e8})
    api.ctx.usage.take(REPLICA.key, [use], {}, at=later(0))
    shown = (await api.ask("GET", "/api/v1/workspaces/w/online-endpoints/cancer/deployments/blue")).json()
    [replica] = shown["replicas"]
    assert replica["load"] == LOAD | {"per_call": 8.0}
    assert replica["usage"]["now"] == {"cpu_percent": 37.5, "memory_bytes": 2.5e8}
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families((await api.ask("GET", "/metrics")).text)
        for sample in family.samples
        if sample.labels.get("replica") == REPLICA.key
    }
    assert told == {
        "ultramarine_replica_requests_total": 80,
        "ultramarine_replica_calls_total": 10,
        "ultramarine_replica_waiting": 3,
        "ultramarine_replica_cpu_percent": 37.5,
        "ultramarine_replica_memory_bytes": 2.5e8,
    }


async def test_it_is_asked_again_after_a_while_and_not_before(api: Api) -> None:
    async with replica_that_says(LOAD, LOAD | {"requests": 90, "calls": 20}) as socket:
        ctx = await looked(api, socket, at_s=(0, 1, 4))
        assert ctx.hub.loads[REPLICA.key].requests == 80
        await LoadLoop(ctx).tick()
    load = ctx.hub.loads[REPLICA.key]
    assert (load.requests, load.per_call) == (90, 1.0)


async def test_one_that_says_nothing_or_nonsense_is_told_of_as_before(api: Api) -> None:
    async with replica_that_says(LOAD, "nonsense") as socket:
        ctx = await looked(api, socket, at_s=(0, 6))
        assert ctx.hub.loads[REPLICA.key].requests == 80
    await LoadLoop(ctx).tick()
    assert ctx.hub.loads[REPLICA.key].requests == 80, "it is not there any more"

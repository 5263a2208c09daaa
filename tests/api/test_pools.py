"""Two pools in one installation: each loop sees its own, and quotas count both."""

from dataclasses import dataclass, replace
from random import Random

import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later

from ultramarine.controllers.runs import RunLoop
from ultramarine.domain.host import ENDLESS, Host
from ultramarine.domain.names import AllocationKey
from ultramarine.drivers.simulated import Machine, SimulatedDriver, SimulatedTarget
from ultramarine.planning.seen import Patience
from ultramarine.services.hub import Hub
from ultramarine.store import hosts

CLUSTER = Host(name="ray", pool="ray", is_bounded=False, total=ENDLESS)
SIZE = {"type": "amlcompute", "size": "cpu-2", "max_instances": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    api: Api
    here: SimulatedTarget
    there: SimulatedTarget
    loops: tuple[RunLoop, ...]

    async def turns(self, count: int = 3) -> None:
        for _ in range(count):
            for loop in self.loops:
                await loop.tick()


@pytest.fixture
async def pools(api: Api) -> Pools:
    site = replace(api.ctx.site, clusters={"ray": CLUSTER})
    hub = Hub(patience=Patience(), listening_since=NOON, pools=("local", "ray"))
    object.__setattr__(api.ctx, "site", site)
    object.__setattr__(api.ctx, "hub", hub)
    async with api.ctx.begin() as tx:
        await hosts.put(tx, CLUSTER)
    here, there = (SimulatedTarget(lambda: NOON, Random(1)) for _ in range(2))
    loops = tuple(
        RunLoop(api.ctx, SimulatedDriver(target), owner="s", pool=pool)
        for target, pool in ((here, "local"), (there, "ray"))
    )
    return Pools(api=api, here=here, there=there, loops=loops)


async def test_a_cluster_gets_its_nodes_from_its_provider_and_only_its_maximum_bounds_it(pools: Pools) -> None:
    made = await pools.api.ask("PUT", "/api/v1/workspaces/w/computes/far", json=SIZE | {"provider": "ray"})
    assert made.status_code == 201, made.text
    near = await pools.api.ask("PUT", "/api/v1/workspaces/w/computes/near", json=SIZE | {"min_instances": 1})
    assert near.status_code == 201, near.text
    job = {"command": "true", "environment": "minimal", "compute": "far", "resources": {"instance_count": 3}}
    asked = await pools.api.ask("PUT", "/api/v1/workspaces/w/jobs/j", json=job)
    assert asked.status_code == 201, asked.text  # 6 CPUs, on a machine of 4
    await pools.turns()
    assert (len(pools.here.alive()), len(pools.there.alive())) == (1, 3)
    more = await pools.api.ask("PUT", "/api/v1/workspaces/w/jobs/k", json=job)
    assert more.status_code == 201
    await pools.turns()
    why = (await pools.api.ask("GET", "/api/v1/workspaces/w/jobs/k/explain")).json()
    assert "In the queue of far" in str(why) or "Waits for 3 nodes of far" in str(why)
    assert "this machine" not in str(why)


async def test_a_quota_counts_the_nodes_of_every_pool(pools: Pools) -> None:
    body = {"quota": {"nodes": 1}}
    assert (await pools.api.ask("PUT", "/api/v1/workspaces/q", json=body)).status_code == 201
    for name, provider in (("far", "ray"), ("near", "local")):
        cluster = SIZE | {"provider": provider, "min_instances": 1}
        made = await pools.api.ask("PUT", f"/api/v1/workspaces/q/computes/{name}", json=cluster)
        assert made.status_code == 201, made.text
    await pools.turns()
    assert len(pools.here.alive()) + len(pools.there.alive()) == 1


async def test_a_provider_that_is_not_configured_is_refused_by_name(api: Api) -> None:
    refused = await api.ask("PUT", "/api/v1/workspaces/w/computes/far", json=SIZE | {"provider": "ray"})
    assert refused.status_code == 422
    assert "provider: ray is not configured" in refused.json()["detail"]


async def test_leftovers_are_what_one_side_alone_knows(pools: Pools) -> None:
    early = (await pools.api.ask("GET", "/api/v1/leftovers")).json()["value"]
    assert [one["pool"] for one in early] == ["local", "ray"], "nobody has looked yet"
    made = SIZE | {"provider": "ray", "min_instances": 1}
    assert (await pools.api.ask("PUT", "/api/v1/workspaces/w/computes/far", json=made)).status_code == 201
    await pools.turns(2)
    assert (await pools.api.ask("GET", "/api/v1/leftovers")).json()["value"] == []
    stray = AllocationKey("e9-c9-1")
    kept = dict(pools.there.machines)
    pools.there.machines.clear()
    pools.there.machines[stray] = Machine(key=stray, claim=ENDLESS, up_at=NOON)
    object.__setattr__(pools.api.ctx, "clock", lambda: later(2))
    await pools.loops[1].tick()
    found = (await pools.api.ask("GET", "/api/v1/leftovers")).json()["value"]
    assert {one["key"] for one in found} == {stray, *kept}
    assert (await pools.api.ask("GET", "/api/v1/leftovers", token="reader")).status_code == 403

"""The scheduler's last turns are kept, can be taken away, and come out alike when they are decided again."""

from random import Random
from typing import Any

from tests.api.conftest import Api

from ultramarine.controllers.runs import RunLoop
from ultramarine.drivers.simulated import SimulatedDriver, SimulatedTarget

W = "/api/v1/workspaces/w"
S = "/api/v1/scheduler"


async def turns(api: Api, job: Any) -> None:
    body = {"type": "amlcompute", "size": "cpu-1", "max_instances": 2}
    await api.ask("PUT", f"{W}/computes/c", json=body)
    await api.ask("PUT", f"{W}/jobs/j", json=job(compute="c", environment_variables={"A": "not-for-others"}))
    loop = RunLoop(api.ctx, SimulatedDriver(SimulatedTarget(api.ctx.clock, Random(0))), owner="o")
    for _ in range(3):
        await loop.tick()


async def test_turns_that_decided_something_come_out_alike(api: Api, job: Any) -> None:
    await turns(api, job)
    found = (await api.ask("POST", f"{S}/replay")).json()["value"]
    assert found
    assert all(turn["is_same"] for turn in found)
    assert any("of c made: For j." in line for turn in found for line in turn["decided"])


async def test_a_saved_trace_is_decided_again_and_shows_where_it_differs(api: Api, job: Any) -> None:
    await turns(api, job)
    trace = (await api.ask("GET", f"{S}/trace")).json()
    assert "not-for-others" not in str(trace), "what jobs are given is not in it"
    (cluster,) = [compute for compute in trace[0]["state"]["computes"] if compute["name"] == "c"]
    cluster["spec"]["max_instances"] = 1
    trace[0]["state"]["runs"][0]["instance_count"] = 2
    first = (await api.ask("POST", f"{S}/replay", json=trace)).json()["value"][0]
    assert not first["is_same"]
    assert any("max_instances 1 now" in line for line in first["again"])


async def test_a_trace_that_is_none_is_refused_with_the_place(api: Api) -> None:
    answer = await api.ask("POST", f"{S}/replay", json=[{"now": "yesterday"}])
    assert answer.status_code == 422
    assert "The trace cannot be read: 0.now" in answer.json()["detail"]


async def test_only_owners_of_all_see_what_all_do(api: Api) -> None:
    for token in ("reader", "owner_of_w"):
        assert (await api.ask("GET", f"{S}/trace", token=token)).status_code == 403
        assert (await api.ask("POST", f"{S}/replay", token=token)).status_code == 403

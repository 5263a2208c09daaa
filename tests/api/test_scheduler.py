"""The scheduler's last turns are kept, can be taken away, and come out alike when they are decided again."""

from random import Random
from typing import Any

from tests.api.conftest import Api
from tests.factories import NOON, later

from ultramarine.controllers.runs import RunLoop
from ultramarine.drivers.simulated import SimulatedDriver, SimulatedTarget
from ultramarine.store import runs

W = "/api/v1/workspaces/w"
S = "/api/v1/scheduler"


async def turns(api: Api, job: Any) -> None:
    body = {"type": "amlcompute", "size": "cpu-1", "max_instances": 2}
    await api.ask("PUT", f"{W}/computes/c", json=body)
    await api.ask("PUT", f"{W}/jobs/j", json=job(compute="c", environment_variables={"A": "not-for-others"}))
    loop = RunLoop(api.ctx, SimulatedDriver(SimulatedTarget(api.ctx.clock, Random(0))), owner="o")
    for _ in range(3):
        await loop.tick()


async def test_who_leads_again_after_another_tells_anew_why_jobs_wait(api: Api, job: Any) -> None:
    moment = [NOON]
    object.__setattr__(api.ctx, "clock", lambda: moment[0])
    await api.ask("PUT", f"{W}/computes/c", json={"type": "amlcompute", "size": "cpu-1", "max_instances": 1})
    for name in ("first", "waits"):
        await api.ask("PUT", f"{W}/jobs/{name}", json=job(compute="c"))
    driver = SimulatedDriver(SimulatedTarget(api.ctx.clock, Random(0)))
    one, other = (RunLoop(api.ctx, driver, owner=owner) for owner in ("one", "other"))

    async def reason() -> str:
        return (await api.ask("GET", f"{W}/jobs/waits")).json()["reason"]

    for _ in range(3):
        await one.tick()
    said = await reason()
    assert "Waits for 1 node of c" in said
    moment[0] = later(20)
    await other.tick()
    async with api.ctx.begin() as tx:
        (waiting,) = [run for run in await runs.open_ones(tx) if run.owner_name == "waits"]
        await runs.explain(tx, {waiting.key: "As the other saw it."})
    moment[0] = later(40)
    await one.tick()
    assert await reason() == said


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

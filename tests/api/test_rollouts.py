"""Rollouts through the API, with the real loop over a real database; what the gateway counts is told here."""

from dataclasses import replace
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later

from ultramarine.controllers.rollouts import RolloutLoop
from ultramarine.domain.endpoint import Deployment, DeploymentEvent, DeploymentSpec, Endpoint, EndpointSpec
from ultramarine.domain.errors import StaleWrite
from ultramarine.domain.rollout import RolloutEvent
from ultramarine.planning.traffic import Traffic
from ultramarine.services import rollouts as services
from ultramarine.store import endpoints, rollouts

AT = "/api/v1/workspaces/w/online-endpoints/cancer"
QUICK = {"steps": [10, 50, 100], "hold": 60, "min_requests": 50}


class Site:
    """An endpoint with two deployments, its rollouts' loop, and a clock and a gateway that the test sets."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.now_s = 0.0
        self.counted: dict[str, Traffic] = {}
        self.ctx = replace(api.ctx, clock=lambda: later(self.now_s))
        self.api.app.state.ctx = self.ctx
        self.loop = RolloutLoop(self.ctx)

    async def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> dict[str, Any]:
        answer = await self.api.ask(method, f"{AT}{path}", **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def begin(self, *, status: int = 201, **settings: Any) -> dict[str, Any]:
        return await self.ask("POST", "/deployments/green/rollout", status=status, json={**QUICK, **settings})

    async def turn(self, *, at_s: float, green: int = 0, errors: int = 0) -> tuple[dict[str, int], dict[str, Any]]:
        """Count so many more requests to green, let it turn: the traffic, and the rollout."""
        more = Traffic(requests=green, answers={"2xx": green - errors, "5xx": errors})
        self.counted["green"] = self.counted.get("green", Traffic()).plus(more)
        self.ctx.hub.traffic = {("w/cancer", name): traffic for name, traffic in self.counted.items()}
        self.now_s = at_s
        await self.loop.tick()
        await self.loop.tick()
        return (await self.ask("GET", ""))["traffic"], await self.ask("GET", "/rollout")


@pytest.fixture
async def site(api: Api) -> Site:
    spec = EndpointSpec(name="cancer", traffic={"blue": 100})
    async with api.ctx.begin() as tx:
        endpoint = Endpoint(
            workspace="w", name="cancer", spec=spec, keys_sha256=("0", "1"), keys_sealed="", created_at=NOON
        )
        await endpoints.add(tx, endpoint)
        for name in ("blue", "green"):
            made = Deployment(
                id=name,
                workspace="w",
                endpoint="cancer",
                name=name,
                spec=DeploymentSpec(name=name, endpoint_name="cancer", model="azureml:m:1"),
                serving={},
                created_at=NOON,
                changed_at=NOON,
            )
            await endpoints.add_deployment(tx, made)
            await endpoints.record(tx, made, DeploymentEvent.ALL_ANSWER, now=NOON)
    return Site(api)


async def test_good_figures_move_the_traffic_step_by_step(site: Site):
    begun = await site.begin()
    assert (begun["status"], begun["steps"], begun["traffic_before"]) == ("Running", [10, 50, 100], {"blue": 100})
    assert (await site.turn(at_s=0))[0] == {"blue": 90, "green": 10}
    traffic, rollout = await site.turn(at_s=30, green=100)
    assert (traffic, rollout["reason"]) == ({"blue": 90, "green": 10}, "At 10 % for 30 s more; 100 requests, 0 errors.")
    assert (await site.turn(at_s=61, green=100))[0] == {"blue": 50, "green": 50}
    assert (await site.turn(at_s=122, green=100))[0] == {"blue": 0, "green": 100}
    traffic, rollout = await site.turn(at_s=183, green=100)
    assert (traffic, rollout["status"]) == ({"blue": 0, "green": 100}, "Completed")


async def test_bad_figures_return_it(site: Site):
    await site.begin()
    await site.turn(at_s=0)
    traffic, rollout = await site.turn(at_s=5, green=100, errors=30)
    assert (traffic, rollout["status"]) == ({"blue": 100}, "Returned")
    assert rollout["reason"].startswith("At 10 % of the traffic: 30 errors of 100 requests, 30.0 %;")


async def test_errors_of_before_the_step_are_not_its_own(site: Site):
    site.counted["green"] = Traffic(requests=100, answers={"5xx": 100})
    await site.begin()
    await site.turn(at_s=0)
    assert (await site.turn(at_s=61, green=100))[0] == {"blue": 50, "green": 50}


async def test_a_server_that_starts_anew_counts_the_step_anew(site: Site):
    await site.begin()
    await site.turn(at_s=0, green=100)
    site.loop = RolloutLoop(site.ctx)
    traffic, rollout = await site.turn(at_s=61)
    assert (traffic["green"], rollout["reason"]) == (10, "At 10 %: it has had 0 of 50 requests.")


async def test_it_is_taken_back_at_once(site: Site):
    await site.begin()
    await site.turn(at_s=0)
    assert (await site.ask("POST", "/rollback"))["traffic"] == {"blue": 100}
    traffic, rollout = await site.turn(at_s=1)
    assert (traffic, rollout["status"]) == ({"blue": 100}, "Canceled")
    assert rollout["reason"] == "Taken back by a user."


async def test_without_a_rollout_the_last_change_is_taken_back_and_that_too(site: Site):
    await site.ask("PATCH", "", json={"traffic": {"blue": 30, "green": 70}})
    assert (await site.ask("POST", "/rollback"))["traffic"] == {"blue": 100}
    assert (await site.ask("POST", "/rollback"))["traffic"] == {"blue": 30, "green": 70}


async def test_a_change_of_other_things_is_no_change_of_the_traffic(site: Site):
    await site.ask("PATCH", "", json={"traffic": {"blue": 30, "green": 70}})
    await site.ask("PATCH", "", json={"description": "for tumours"})
    assert (await site.ask("POST", "/rollback"))["traffic"] == {"blue": 100}


async def test_traffic_that_somebody_changes_ends_it(site: Site):
    await site.begin()
    await site.turn(at_s=0)
    await site.ask("PATCH", "", json={"traffic": {"blue": 100}})
    traffic, rollout = await site.turn(at_s=100, green=1000)
    assert (traffic, rollout["status"]) == ({"blue": 100}, "Canceled")


async def test_a_change_between_look_and_step_is_not_written_over(site: Site):
    await site.begin()
    async with site.ctx.read() as tx:
        rollout = await rollouts.open_of(tx, "w", "cancer")
    assert rollout is not None
    await site.ask("PATCH", "", json={"traffic": {"blue": 40, "green": 60}})
    with pytest.raises(StaleWrite):
        await services.move(site.ctx, rollout, RolloutEvent.STEP_TAKEN, reason="green has 10 %.")
    assert (await site.ask("GET", ""))["traffic"] == {"blue": 40, "green": 60}


async def test_a_deployment_that_fails_returns_it(site: Site):
    await site.begin()
    await site.turn(at_s=0)
    async with site.ctx.begin() as tx:
        green = await endpoints.deployment(tx, "w", "cancer", "green")
        green = await endpoints.record(tx, green, DeploymentEvent.CHANGE_ASKED, now=NOON)
        await endpoints.record(tx, green, DeploymentEvent.GAVE_UP, now=NOON, reason="init() failed.")
    traffic, rollout = await site.turn(at_s=1)
    assert (traffic, rollout["status"]) == ({"blue": 100}, "Returned")
    assert rollout["reason"] == "green: it is Failed. init() failed."


async def test_an_endpoint_that_is_deleted_ends_it(site: Site):
    await site.begin()
    await site.ask("DELETE", "", status=202)
    await site.loop.tick()
    async with site.ctx.read() as tx:
        assert list(await rollouts.open_ones(tx)) == []


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"steps": [50, 10]}, 422, "steps rise from one to the next"),
        ({"pause_on": ["speed>1x"]}, 422, "'speed>1x' is no condition"),
        ({"step": [1]}, 422, "did you mean 'steps'?"),
    ],
)
async def test_what_cannot_be_meant_is_refused(site: Site, settings: dict[str, Any], status: int, words: str):
    assert words in (await site.begin(status=status, **settings))["detail"]


async def test_one_at_a_time_and_only_forward(site: Site):
    assert "has never been changed" in (await site.ask("POST", "/rollback", status=409))["detail"]
    assert "There is no rollout" in (await site.ask("GET", "/rollout", status=404))["detail"]
    no_such = await site.ask("POST", "/deployments/red/rollout", status=404, json=QUICK)
    assert "There is no online-deployment named 'red'" in no_such["detail"]
    await site.begin()
    assert "A rollout of green goes on" in (await site.begin(status=409))["detail"]
    await site.ask("POST", "/rollback")
    await site.ask("PATCH", "", json={"traffic": {"blue": 50, "green": 50}})
    assert "green has 50 % of the traffic already" in (await site.begin(status=422))["detail"]

"""Endpoints and deployments over REST: what is made, what is changed, what is refused and why."""

from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any

import httpx
import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later
from tests.simulation.serving import SimulatedTracking

from ultramarine.api.app import build
from ultramarine.domain.endpoint import DeploymentEvent
from ultramarine.planning.traffic import Latencies, Traffic
from ultramarine.services.deployments import compute_of, cpus_of, need_of
from ultramarine.services.serving import replica_spec
from ultramarine.store import endpoints

W = "/api/v1/workspaces/w"
E = f"{W}/online-endpoints/cancer"
BLUE = {"model": "forest:1", "instance_count": 1}


@pytest.fixture
async def serving(api: Api) -> AsyncIterator[Api]:
    """With an MLflow that has every model."""
    tracking: Any = SimulatedTracking(Random(0), lambda: 0.0)
    ctx = replace(api.ctx, tracking=tracking)
    app = build(ctx)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        made = Api(ctx=ctx, app=app, http=http, tokens=api.tokens)
        assert (await made.ask("PUT", E, json={})).status_code == 201
        yield made


async def refused(api: Api, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    """The status of a refusal and its words, with what to do."""
    answer = await api.ask(method, path, json=body)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert said["hint"]
    return answer.status_code, f"{said['detail']} {said['hint']}"


async def test_traffic_goes_to_deployments_that_there_are(serving: Api) -> None:
    assert (await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE)).status_code == 201
    for field in ("traffic", "mirror_traffic"):
        status, words = await refused(
            serving, "PATCH", E, {field: {"gren": 50, "blue": 50} if field == "traffic" else {"gren": 9}}
        )
        assert status == 422
        assert f"{field}: " in words
        assert "'gren', which is no deployment of cancer. There is: blue." in words
    changed = (await serving.ask("PATCH", E, json={"traffic": {"blue": 100}})).json()
    assert (changed["traffic"], changed["mirror_traffic"]) == ({"blue": 100}, {})


async def test_what_a_change_does_not_name_stays_and_the_whole_is_checked(serving: Api) -> None:
    for name in ("blue", "green"):
        await serving.ask("PUT", f"{E}/deployments/{name}", json=BLUE)
    await serving.ask("PATCH", E, json={"traffic": {"blue": 100}})
    mirrored = (await serving.ask("PATCH", E, json={"mirror_traffic": {"green": 10}})).json()
    assert (mirrored["traffic"], mirrored["mirror_traffic"]) == ({"blue": 100}, {"green": 10})
    again = (await serving.ask("PUT", E, json={"description": "the same file again"})).json()
    assert (again["traffic"], again["mirror_traffic"]) == ({"blue": 100}, {"green": 10})
    status, words = await refused(serving, "PATCH", E, {"traffic": {"blue": 90, "green": 10}})
    assert status == 422
    assert "green would get 10 % of the traffic and 10 % of it mirrored" in words


async def test_it_is_said_which_environment_stands_for_one_of_azures(serving: Api) -> None:
    body = BLUE | {"environment": "azureml:AzureML-Minimal@latest"}
    made = await serving.ask("PUT", f"{E}/deployments/blue", json=body)
    assert made.json()["notice"] == "environment: azureml:AzureML-Minimal@latest is minimal:1 here."
    assert (await serving.ask("PUT", f"{E}/deployments/green", json=BLUE)).json()["notice"] == ""


async def test_a_deployment_with_traffic_of_any_kind_is_not_deleted(serving: Api) -> None:
    for name in ("blue", "green"):
        await serving.ask("PUT", f"{E}/deployments/{name}", json=BLUE)
    await serving.ask("PATCH", E, json={"traffic": {"blue": 100}, "mirror_traffic": {"green": 10}})
    status, words = await refused(serving, "DELETE", f"{E}/deployments/blue")
    assert (status, "blue has 100 % of the traffic of cancer" in words) == (409, True)
    status, words = await refused(serving, "DELETE", f"{E}/deployments/green")
    assert (status, "--mirror-traffic green=0" in words) == (409, True)
    await serving.ask("PATCH", E, json={"mirror_traffic": {"green": 0}})
    assert (await serving.ask("DELETE", f"{E}/deployments/green")).status_code == 202


async def test_what_is_collected_by_itself_needs_no_script_and_other_things_do(serving: Api) -> None:
    asked = {"data_collector": {"collections": {"model_inputs": {"enabled": "True"}}}}
    assert (await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE | asked)).status_code == 201
    own = {"data_collector": {"collections": {"my_figures": {"enabled": True}}}}
    status, words = await refused(serving, "PUT", f"{E}/deployments/green", BLUE | own)
    assert (status, "my_figures would be collected by a script, and there is none" in words) == (422, True)


async def test_replicas_stand_on_an_inferencing_cluster_and_jobs_do_not(serving: Api, job: Any) -> None:
    cluster = {"type": "inferencecluster", "size": "cpu-1", "min_instances": 1, "max_instances": 2}
    made = (await serving.ask("PUT", f"{W}/computes/inf", json=cluster)).json()
    assert (made["type"], made["targets"]) == ("inferencecluster", ["inferencing"])
    status, words = await refused(serving, "PUT", f"{W}/jobs/j", job(compute="inf"))
    assert (status, "holds replicas of deployments and takes no jobs" in words) == (422, True)
    await serving.ask("PUT", f"{W}/computes/mine", json={"type": "computeinstance", "size": "cpu-1"})
    status, words = await refused(serving, "PUT", f"{E}/deployments/blue", BLUE | {"compute": "mine"})
    assert (status, "somebody's own machine, and holds no replicas" in words) == (422, True)
    large = BLUE | {"compute": "inf", "instance_type": "cpu-2"}
    status, words = await refused(serving, "PUT", f"{E}/deployments/blue", large)
    assert (status, "a node of inf has 1 CPU, 2.0 GiB. Write instance_type: cpu-1" in words) == (422, True)
    assert (await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE | {"compute": "inf"})).status_code == 201
    status, words = await refused(serving, "DELETE", f"{W}/computes/inf")
    assert (status, "holds the replicas of cancer/blue" in words) == (409, True)
    status, words = await refused(serving, "PUT", f"{W}/computes/inf", {"type": "amlcompute", "size": "cpu-1"})
    assert (status, "it cannot become amlcompute" in words) == (409, True)


async def test_the_same_again_is_the_same_deployment_and_one_that_has_failed_is_tried_again(serving: Api) -> None:
    await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE)
    assert (await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE)).json()["provisioning_state"] == "Creating"
    async with serving.ctx.begin() as tx:
        blue = await endpoints.deployment(tx, "w", "cancer", "blue")
        await endpoints.record(tx, blue, DeploymentEvent.GAVE_UP, now=NOON, reason="Replica 1: no luck.")
    again = await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE)
    assert (again.status_code, again.json()["provisioning_state"]) == (200, "Updating")


@pytest.mark.parametrize(("size", "cpus"), [("cpu-1", 1), ("cpu-2", 2)])
async def test_a_replica_reserves_a_share_of_the_machine_and_weighs_as_its_size(
    serving: Api, size: str, cpus: float
) -> None:
    await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE | {"instance_type": size})
    async with serving.ctx.read() as tx:
        blue = await endpoints.deployment(tx, "w", "cancer", "blue")
        need = need_of(serving.ctx, blue.spec, await compute_of(tx, "w", blue.spec))
    assert (need.cpus_milli, need.shares_milli) == (0, 100)
    blue.serving.update(model={"name": "f", "version": "1", "snapshot": ""}, environment={}, code=None, entry=None)
    made = replica_spec(blue, zip_sha256="", is_elsewhere=False, cpus=cpus_of(serving.ctx, blue.spec))
    assert made["limits"]["cpus"] == cpus


async def test_a_training_cluster_holds_no_replicas(serving: Api) -> None:
    await serving.ask("PUT", f"{W}/computes/train", json={"type": "amlcompute", "size": "cpu-1"})
    status, words = await refused(serving, "PUT", f"{E}/deployments/blue", BLUE | {"compute": "train"})
    assert (status, "train is no inferencing target" in words) == (422, True)


async def ask_for(
    api: Api, token: str, *, workspace: str = "w", endpoint: str = "cancer"
) -> tuple[int, dict[str, Any]]:
    """What the gateway is told of a token that a caller has shown."""
    question = {"token": token, "purpose": "endpoint", "workspace": workspace, "endpoint": endpoint}
    answer = await api.http.post("/internal/authorize", json=question)
    return answer.status_code, answer.json()


async def test_a_token_is_good_for_its_endpoint_until_it_expires(serving: Api) -> None:
    await serving.ask("PUT", E, json={"auth_mode": "aml_token"})
    await serving.ask("PUT", f"{W}/online-endpoints/other", json={"auth_mode": "aml_token"})
    given = (await serving.ask("GET", f"{E}/credentials")).json()
    assert sorted(given) == ["accessToken", "expiryTimeUtc", "refreshAfterTimeUtc", "tokenType"]
    assert given["expiryTimeUtc"] == int(NOON.timestamp()) + 3600
    assert await ask_for(serving, given["accessToken"]) == (
        200,
        {"workspace": "w", "subject": "endpoint cancer", "cache_s": 5},
    )
    assert (await ask_for(serving, given["accessToken"], endpoint="other"))[0] == 401
    assert (await ask_for(serving, given["accessToken"], workspace="v"))[0] == 401
    assert (await ask_for(serving, given["accessToken"].replace("cancer", "other"), endpoint="other"))[0] == 401
    for wrong in ("", "endpoint", given["accessToken"][:-1], given["accessToken"] + "0", "endpoint:w:cancer:x:y"):
        assert (await ask_for(serving, wrong))[0] == 401
    for passed_s, answer in ((3598, (200, 2)), (3600, (401, None)), (4000, (401, None))):
        old = replace(serving.ctx, clock=lambda passed_s=passed_s: later(passed_s))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(build(old)), base_url="http://test") as http:
            status, said = await ask_for(replace(serving, http=http), given["accessToken"])
        assert (status, said.get("cache_s")) == answer


async def test_a_token_ends_when_the_primary_key_is_made_anew_or_keys_are_asked_for(serving: Api) -> None:
    await serving.ask("PUT", E, json={"auth_mode": "aml_token"})
    token = (await serving.ask("GET", f"{E}/credentials")).json()["accessToken"]
    await serving.ask("POST", f"{E}/regenerate-keys", json={"key_type": "secondary"})
    assert (await ask_for(serving, token))[0] == 200
    await serving.ask("POST", f"{E}/regenerate-keys", json={"key_type": "primary"})
    assert (await ask_for(serving, token))[0] == 401
    fresh = (await serving.ask("GET", f"{E}/credentials")).json()["accessToken"]
    assert (await ask_for(serving, fresh))[0] == 200
    await serving.ask("PATCH", E, json={"auth_mode": "key"})
    assert (await ask_for(serving, fresh))[0] == 401


async def test_one_key_goes_on_being_good_while_the_other_is_made_anew(serving: Api) -> None:
    before = (await serving.ask("GET", f"{E}/credentials")).json()
    after = (await serving.ask("POST", f"{E}/regenerate-keys", json={"key_type": "secondary"})).json()
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]
    assert after == (await serving.ask("GET", f"{E}/credentials")).json()
    assert (await serving.ask("GET", f"{E}/credentials", token="reader")).status_code == 403


async def test_a_held_request_is_remembered_and_wakes_the_loop(serving: Api) -> None:
    count = serving.ctx.serving.count
    answer = await serving.http.post("/internal/held", json={"endpoint": "w/cancer", "deployment": "blue"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert serving.ctx.hub.held_at == {("w/cancer", "blue"): NOON}
    assert serving.ctx.serving.count > count


async def test_what_follows_the_requests_begins_with_one_replica_and_keeps_what_it_has(serving: Api) -> None:
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 4}
    made = (
        await serving.ask("PUT", f"{E}/deployments/blue", json={"model": "forest:1", "scale_settings": scale})
    ).json()
    assert (made["instance_count"], made["scale_settings"]["max_instances"]) == (1, 4)
    await serving.ask("PUT", f"{E}/deployments/green", json=BLUE | {"instance_count": 3})
    changed = (await serving.ask("PATCH", f"{E}/deployments/green", json={"scale_settings": scale})).json()
    assert changed["instance_count"] == 3
    status, words = await refused(serving, "PATCH", f"{E}/deployments/green", {"instance_count": 9})
    assert (status, "instance_count is 9, and scale_settings say 0 to 4" in words) == (422, True)


async def test_what_the_gateway_has_counted_is_shown(serving: Api) -> None:
    await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE)
    assert (await serving.ask("GET", f"{E}/deployments/blue")).json()["requests"] is None
    seconds = Latencies(bounds=(0.1, 0.2), counts=(98, 1, 1), sum=9.0)
    counted = Traffic(in_flight=3, queued=2, requests=105, answers={"2xx": 99, "5xx": 1}, seconds=seconds)
    serving.ctx.hub.traffic = {("w/cancer", "blue"): counted}
    before = Traffic(requests=45, answers={"2xx": 39, "5xx": 1}, seconds=replace(seconds, counts=(38, 1, 1), sum=3.0))
    serving.ctx.hub.history.take({("w/cancer", "blue"): before}, later(-60))
    shown = {
        "in_flight": 3,
        "queued": 2,
        "held": 0,
        "last_minute": {
            "seconds": 60.0,
            "per_s": 1.0,
            "errors": 0,
            "refused": 0,
            "p50_s": pytest.approx(0.05),
            "p90_s": pytest.approx(0.09),
            "p99_s": pytest.approx(0.099),
        },
        "answered": 100,
        "answers": {"2xx": 99, "5xx": 1},
        "p50_s": pytest.approx(0.1 * 50 / 98),
        "p99_s": 0.2,
    }
    assert (await serving.ask("GET", f"{E}/deployments/blue")).json()["requests"] == shown
    assert (await serving.ask("GET", E)).json()["requests"] == {"blue": shown}


async def test_a_change_of_one_setting_leaves_the_others_as_they_are(serving: Api) -> None:
    scale = {"type": "target_utilization", "min_instances": 0, "max_instances": 4}
    limits = {"request_timeout_ms": 9000, "max_queue_wait_ms": 100}
    await serving.ask("PUT", f"{E}/deployments/blue", json=BLUE | {"request_settings": limits, "scale_settings": scale})
    change = {"request_settings": {"max_queue_wait_ms": 200}, "scale_settings": {"max_instances": 8}}
    changed = (await serving.ask("PATCH", f"{E}/deployments/blue", json=change)).json()
    assert changed["request_settings"] == {"request_timeout_ms": 9000, "max_queue_wait_ms": 200}
    assert changed["scale_settings"] == scale | {"max_instances": 8}
    plain = (await serving.ask("PATCH", f"{E}/deployments/blue", json={"scale_settings": {"type": "default"}})).json()
    assert (plain["scale_settings"], plain["instance_count"]) == ({"type": "default"}, 1)


async def test_what_a_replica_is_told_when_it_begins_can_be_changed_and_takes_new_replicas(serving: Api) -> None:
    blue, collector = f"{E}/deployments/blue", {"collections": {"request": {"enabled": True}}, "sampling_rate": 0.5}
    await serving.ask("PUT", blue, json=BLUE | {"data_collector": collector})
    await made_replicas(serving, 2)
    change = {"data_collector": {"collections": {"response": {"enabled": True}}}}
    changed = (await serving.ask("PATCH", blue, json=change)).json()
    assert changed["provisioning_state"] == "Updating"
    both = {"request": {"enabled": True}, "response": {"enabled": True}}
    assert changed["data_collector"] == {"collections": both, "sampling_rate": 0.5}
    assert await old_replicas(serving) == 2
    await made_replicas(serving, 4)
    await serving.ask("PATCH", blue, json={"instance_count": 3})
    assert await old_replicas(serving) == 2, "that needs no new ones"
    assert "data_collector" not in (await serving.ask("PATCH", blue, json={"data_collector": None})).json()
    assert await old_replicas(serving) == 4
    more = {"environment_variables": {"WORKER_COUNT": 2}, "onnx_enabled": False}
    changed = (await serving.ask("PATCH", blue, json=more)).json()
    assert (changed["environment_variables"], changed["onnx_enabled"]) == ({"WORKER_COUNT": "2"}, False)


async def test_a_change_of_what_is_collected_that_makes_no_sense_changes_nothing(serving: Api) -> None:
    blue, collector = f"{E}/deployments/blue", {"collections": {"request": {"enabled": True}}}
    await serving.ask("PUT", blue, json=BLUE | {"data_collector": collector})
    before = (await serving.ask("GET", blue)).json()
    cases: list[tuple[object, str]] = [
        ({"collections": {"mine": {"enabled": True}}}, "mine would be collected by a script, and there is none"),
        ({"sampling_rate": 7}, "data_collector.sampling_rate"),
        ({"colections": {}}, "did you mean 'collections'?"),
        ("off", "data_collector"),
    ]
    for wrong, words in cases:
        status, said = await refused(serving, "PATCH", blue, {"data_collector": wrong})
        assert (status, words in said) == (422, True), said
    status, said = await refused(serving, "PATCH", blue, {"environment_variables": {"WORKER_COUNT": "many"}})
    assert (status, "WORKER_COUNT is 'many', and can be 1 to 64, or auto" in said) == (422, True)
    assert (await serving.ask("GET", blue)).json() == before


async def made_replicas(api: Api, count: int) -> None:
    async with api.ctx.begin() as tx:
        there = await endpoints.deployment(tx, "w", "cancer", "blue")
        await endpoints.keep(tx, replace(there, replicas_made=count))


async def old_replicas(api: Api) -> int:
    async with api.ctx.read() as tx:
        return (await endpoints.deployment(tx, "w", "cancer", "blue")).replicas_old

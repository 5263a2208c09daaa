"""What a deployment has collected: from its node to whoever may read it."""

import json
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.domain.endpoint import DeploymentSpec
from ultramarine.domain.errors import NotFound
from ultramarine.domain.names import NodeKey, RunKey
from ultramarine.services import collected
from ultramarine.services.serving import replica_spec
from ultramarine.store import endpoints, runs

W = "/api/v1/workspaces/w"
BLUE = f"{W}/online-endpoints/cancer/deployments/blue/collected"
NODE = NodeKey("e1-a-1.0")
HOUR = "request/2026/11/28/10"
COLLECTOR = {
    "collections": {
        "request": {"enabled": True},
        "response": {"enabled": True, "sampling_rate": 0.5},
        "model_inputs": {"enabled": False},
    },
    "sampling_rate": 0.8,
    "rolling_rate": "Day",
    "request_logging": {"capture_headers": ["X-Mine"]},
}


def spec(**different: Any) -> DeploymentSpec:
    body = {"name": "blue", "endpoint_name": "cancer", "model": "forest:1", "data_collector": COLLECTOR} | different
    return DeploymentSpec.read(body, what="the deployment")


async def deployed(api: Api) -> RunKey:
    """A replica of a deployment that collects, on a node."""
    serving = {
        "model": {"name": "forest", "version": "1", "snapshot": "0" * 64},
        "environment": {},
        "code": None,
        "entry": None,
    }
    deployment = make_deployment(spec=spec(), serving=serving)
    replica = make_replica(nodes=(NODE,), workspace="w")
    async with api.ctx.begin() as tx:
        await endpoints.add(tx, make_endpoint())
        await endpoints.add_deployment(tx, deployment)
        await runs.add(tx, replica, replica_spec(deployment, zip_sha256="1" * 64, is_elsewhere=False, cpus=1))
    return replica.key


def test_a_replica_is_told_what_to_collect() -> None:
    deployment = make_deployment(spec=spec(), serving={"model": {"name": "f", "version": "1", "snapshot": ""}})
    deployment.serving.update(environment={}, code=None, entry=None)
    made = replica_spec(deployment, zip_sha256="", is_elsewhere=False, cpus=1)
    assert made["collects"] == {"endpoint": "cancer", "deployment": "blue"}
    assert made["argv"][-4:-1] == ["--collect-into", "{{collected}}", "--collect"]
    assert json.loads(made["argv"][-1]) == {
        "collections": {"request": 0.8, "response": 0.5},
        "rolling": "day",
        "headers": ["X-Mine"],
        "source": "/workspaces/w/onlineEndpoints/cancer/deployments/blue",
    }
    off = make_deployment(spec=spec(data_collector=None), serving=deployment.serving)
    assert replica_spec(off, zip_sha256="", is_elsewhere=False, cpus=1)["collects"] is None


@pytest.mark.parametrize(
    ("different", "options"),
    [
        ({}, []),
        ({"environment_variables": {"WORKER_COUNT": 3}}, ["--workers", "3"]),
        ({"environment_variables": {"WORKER_COUNT": "auto"}}, ["--workers", "8"]),
        ({"batching_enabled": False}, ["--max-batch-rows", "1"]),
        ({"smoke_test_enabled": False}, ["--no-smoke-test"]),
        ({"onnx_enabled": False}, []),
    ],
)
def test_a_replica_is_told_what_is_turned_off(different: dict[str, Any], options: list[str]) -> None:
    model = {"name": "f", "version": "1", "snapshot": ""}
    serving = {"model": model, "environment": {}, "code": None, "entry": None, "has_onnx_form": True}
    made = replica_spec(
        make_deployment(spec=spec(data_collector=None, **different), serving=serving),
        zip_sha256="",
        is_elsewhere=False,
        cpus=8,
    )
    onnx = [] if "onnx_enabled" in different else ["--onnx-site", "{{site:1}}", "--cache", "{{cache}}/onnx"]
    argv = made["argv"]
    assert argv[argv.index("--request-timeout-ms") + 2 :] == [*options, *onnx]
    assert len(made["behind"]) == (1 if "onnx_enabled" in different else 2)


async def test_what_a_node_ships_is_listed_and_read(api: Api) -> None:
    run = await deployed(api)
    for offset, content in ((0, b"one\n"), (4, b"two\n")):
        await collected.append(api.ctx, NODE, run, f"{HOUR}/7-000001.jsonl", content=content, offset=offset)
    await collected.append(api.ctx, NODE, run, "response/2026/7-000002.jsonl", content=b"three\n", offset=0)
    listed = (await api.ask("GET", BLUE, token="reader")).json()["value"]
    assert listed == [
        {"collection": "request", "path": f"{HOUR}/{run}-7-000001.jsonl", "size": 8},
        {"collection": "response", "path": f"response/2026/{run}-7-000002.jsonl", "size": 6},
    ]
    assert (await api.ask("GET", BLUE, params={"collection": "response"})).json()["value"] == listed[1:]
    page = (await api.ask("GET", BLUE, params={"limit": 1})).json()
    assert (await api.ask("GET", BLUE, params={"limit": 1, "after": page["next"]})).json()["value"] == listed[1:]
    assert (await api.ask("GET", f"{BLUE}/{listed[0]['path']}", params={"offset": 4})).content == b"two\n"
    assert (await api.ask("GET", f"{BLUE}/{listed[0]['path']}", token="other")).status_code == 403
    assert (await api.ask("GET", f"{BLUE}/request/..%2F..%2Fmaster.key")).status_code in (404, 422)


async def test_a_published_run_is_known_without_the_store(api: Api) -> None:
    run = RunKey("e1-d9-1")
    published = {"spec": {"workspace": "w", "collects": {"endpoint": "cancer", "deployment": "green"}}}
    api.ctx.hub.publish("local", {NODE: {run: published}})
    assert await collected.append(api.ctx, NODE, run, f"{HOUR}/7-000001.jsonl", content=b"x\n", offset=0) == 2
    green = f"{W}/online-endpoints/cancer/deployments/green/collected"
    assert len((await api.ask("GET", green)).json()["value"]) == 1, "it is read though nothing else is there of it"


async def test_who_asks_for_what_is_not_there_hears_so(api: Api) -> None:
    await deployed(api)
    assert (await api.ask("GET", BLUE)).json() == {"value": [], "next": None}
    answer = await api.ask("GET", BLUE.replace("blue", "red"))
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "There is no online-deployment named 'red'. There is: blue.",
    )


async def test_while_the_deployment_is_there_only_what_is_over_is_deleted(api: Api) -> None:
    run = await deployed(api)
    long_ago, just_now = "request/2020/01/01/00/7-000001.jsonl", f"request/{NOON:%Y/%m/%d/%H}/7-000002.jsonl"
    for path in (long_ago, just_now):
        await collected.append(api.ctx, NODE, run, path, content=b"one\n", offset=0)
    refused = await api.ask("DELETE", BLUE)
    assert (refused.status_code, "may be collecting" in refused.json()["detail"]) == (409, True)
    assert (await api.ask("DELETE", BLUE, params={"before": "2999-01-01"})).status_code == 409
    assert (await api.ask("DELETE", BLUE, params={"before": "2020-06-01"}, token="reader")).status_code == 403
    gone = await api.ask("DELETE", BLUE, params={"before": "2020-06-01"})
    assert gone.json() == {"files": 1, "bytes": 4}
    assert len((await api.ask("GET", BLUE)).json()["value"]) == 1


async def test_a_script_is_needed_for_collections_of_its_own(api: Api) -> None:
    body = {"model": "forest:1", "data_collector": {"collections": {"mine": {"enabled": True}}}}
    answer = await api.ask("PUT", f"{W}/online-endpoints/cancer/deployments/blue", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "data_collector: mine would be collected by a script, and there is none."


async def test_a_run_of_another_node_and_one_that_collects_nothing_are_not_known(api: Api) -> None:
    run = await deployed(api)
    plain = make_replica(2, nodes=(NODE,), workspace="w")
    async with api.ctx.begin() as tx:
        await runs.add(tx, plain, {})
    for node, key in ((NodeKey("e1-a-2.0"), run), (NODE, plain.key), (NODE, RunKey("e1-none-1"))):
        with pytest.raises(NotFound):
            await collected.append(api.ctx, node, key, f"{HOUR}/7-000001.jsonl", content=b"x\n", offset=0)

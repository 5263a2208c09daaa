"""Why a job waits, why nodes come and go, and where the time went, over REST."""

from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON, later

from ultramarine.services.explanations import Phase, phases
from ultramarine.store.events import Happening

W = "/api/v1/workspaces/w"


async def cluster(api: Api, **different: Any) -> None:
    body = {"type": "amlcompute", "size": "cpu-1", "max_instances": 2, **different}
    assert (await api.ask("PUT", f"{W}/computes/c", json=body)).status_code == 201


async def test_a_waiting_job_says_its_place_its_reason_and_what_would_let_it_start(api: Api, job: Any) -> None:
    await cluster(api)
    for n in range(3):
        await api.ask("PUT", f"{W}/jobs/j{n}", json=job(compute="c"))
    api.ctx.hub.publish("local", {})
    said = (await api.ask("GET", f"{W}/jobs/j2/explain")).json()["waiting"]
    assert (said["position"], said["queued"]) == (3, 3)
    assert said["reason"] == "Waits for 1 node of c: 0 free, 2 starting, at most 2."
    assert said["would_unblock"].endswith("um compute update -n c --max-instances 3")


async def test_the_place_in_the_queue_is_that_of_the_turn_and_not_of_the_creation(api: Api, job: Any) -> None:
    await cluster(api)
    await api.ask("PUT", f"{W}/jobs/j0", json=job(compute="c"))
    await api.ask("PUT", f"{W}/jobs/j1", json=job(compute="c", queue_settings={"job_tier": "Premium"}))
    positions = [(await api.ask("GET", f"{W}/jobs/j{n}/explain")).json()["waiting"]["position"] for n in (0, 1)]
    assert positions == [2, 1]


async def test_a_compute_says_why_each_of_its_nodes_is_there(api: Api, job: Any) -> None:
    await cluster(api, min_instances=1)
    await api.ask("PUT", f"{W}/jobs/j", json=job(compute="c"))
    said = (await api.ask("GET", f"{W}/computes/c/explain")).json()
    assert said["waiting"]["count"] == 1
    assert said["starts"] == "possible"
    assert [node["reason"] for node in said["nodes"]] == ["Starting. For j."]
    assert (await api.ask("GET", f"{W}/computes/none/explain")).status_code == 404


async def test_a_job_says_where_its_time_went(api: Api, job: Any) -> None:
    await api.ask("PUT", f"{W}/jobs/j", json=job())
    await api.ask("POST", f"{W}/jobs/j/cancel")
    found = (await api.ask("GET", f"{W}/jobs/j/timeline")).json()["value"]
    assert [(phase["attempt"], phase["status"], phase["seconds"]) for phase in found] == [
        (1, "Queued", 0.0),
        (1, "Canceled", 0.0),
    ]


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"resources": {"instance_count": 5}}, "5 nodes are asked for, and c has max_instances 2"),
        ({"resources": {"cpus": 3}}, "3 CPUs, 2.0 GiB of each node are asked for, and a node of c has 1 CPU, 2.0 GiB"),
        ({"resources": {"gpus": 1}}, "1 GPU of each node are asked for, and a node of c has 1 CPU, 2.0 GiB"),
        ({"resources": {"memory": "much"}}, "'much' is no amount of memory: write 512Mi or 4Gi"),
        ({"resources": {"cpus": 0}}, "resources.cpus"),
        ({"queue_settings": {"job_tier": "gold"}}, "queue_settings.job_tier"),
    ],
)
async def test_what_no_node_has_is_refused_with_what_there_is(
    api: Api, job: Any, different: dict[str, Any], words: str
) -> None:
    await cluster(api)
    answer = await api.ask("PUT", f"{W}/jobs/j", json=job(compute="c", **different))
    assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.json()["detail"]
    assert answer.json()["hint"]


async def test_a_gang_larger_than_the_machine_is_refused(api: Api, job: Any) -> None:
    await cluster(api, size="cpu-2", max_instances=9)
    answer = await api.ask("PUT", f"{W}/jobs/j", json=job(compute="c", resources={"instance_count": 3}))
    assert answer.json()["detail"] == (
        "resources.instance_count: 3 nodes of c are 6 CPUs, 12.0 GiB, and this machine has 4 CPUs, 8.0 GiB."
    )


async def test_a_job_that_no_end_of_others_would_bring_into_its_quota_is_refused(api: Api, job: Any) -> None:
    made = await api.ask("PUT", "/api/v1/workspaces/q", json={"quota": {"nodes": 0}})
    assert made.status_code == 201
    body = {"type": "amlcompute", "size": "cpu-1", "max_instances": 2}
    await api.ask("PUT", "/api/v1/workspaces/q/computes/c", json=body)
    answer = await api.ask("PUT", "/api/v1/workspaces/q/jobs/j", json=job(compute="c"))
    assert answer.status_code == 422
    assert answer.json()["detail"] == "Workspace q: 1 more nodes are needed, 0 are held, and its quota is 0."


async def test_a_quota_is_changed_and_lifted(api: Api) -> None:
    path = "/api/v1/workspaces/w"
    changed = (await api.ask("PATCH", path, json={"quota": {"gpus": 1}})).json()
    assert changed["quota"] == {"gpus": 1}
    assert (await api.ask("PUT", path, json={"description": "d"})).json()["quota"] == {"gpus": 1}
    assert (await api.ask("PATCH", path, json={"quota": None})).json()["quota"] is None
    refused = await api.ask("PATCH", path, json={"quota": {"nodes": -1}})
    assert (refused.status_code, "quota.nodes" in refused.json()["detail"]) == (422, True)
    assert (await api.ask("PATCH", path, token="owner_of_w", json={"quota": None})).status_code == 403


def happening(event: str, status: str, second: float) -> Happening:
    return Happening(
        workspace="w", noun="job", id="i", name="j", event=event, status=status, reason="", at=later(second)
    )


def test_phases_are_counted_by_attempt_and_the_last_one_grows() -> None:
    happened = [
        happening("created", "Queued", 0),
        happening("placed", "Preparing", 1),
        happening("all_ready", "Preparing", 2),
        happening("started", "Running", 4),
        happening("node_lost", "Failed", 9),
        happening("tried_again", "Queued", 9),
        happening("placed", "Preparing", 10),
    ]

    def phase(attempt: int, status: str, second: float, seconds: float) -> Phase:
        return Phase(attempt=attempt, status=status, began_at=later(second), seconds=seconds, reason="")

    assert list(phases(happened, now=later(12))) == [
        phase(1, "Queued", 0, 1),
        phase(1, "Preparing", 1, 3),
        phase(1, "Running", 4, 5),
        phase(1, "Failed", 9, 0),
        phase(2, "Queued", 9, 1),
        phase(2, "Preparing", 10, 2),
    ]
    assert list(phases([], now=NOON)) == []

"""What each noun's routes answer: success, refusal, and bodies that nobody expects."""

import hashlib
import json
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.unit.test_deployments import make_deployment, make_replica
from tests.unit.test_routes import make_endpoint

from ultramarine.routing.publisher import Reach
from ultramarine.store import endpoints, runs

W = "/api/v1/workspaces/w"


async def test_a_job_is_created_once_and_another_of_its_name_is_refused(api: Api, job: Any) -> None:
    first = await api.ask("PUT", f"{W}/jobs/j", json=job())
    again = await api.ask("PUT", f"{W}/jobs/j", json=job())
    other = await api.ask("PUT", f"{W}/jobs/j", json=job(command="echo other"))
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == again.json()
    assert (first.json()["status"], first.json()["user"]) == ("Queued", "owner")
    problem = other.json()
    assert other.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["status"]) == ("already-exists", 409)
    assert problem["hint"]


@pytest.mark.parametrize(
    ("different", "status", "words"),
    [
        ({"comand": "x"}, 422, "did you mean 'command'?"),
        ({"compute": "nowhere"}, 404, "There is no compute named 'nowhere'. There is: local."),
        ({"environment": "none"}, 404, "There is no environment named 'none'"),
        ({"resources": {"instance_count": 2}}, 422, "2 nodes are asked for"),
        ({"code": "./src"}, 422, "is a path of your machine"),
        ({"code": "snapshot:" + "0" * 64}, 404, "There is no snapshot"),
        ({"command": "${{inputs.x}}"}, 422, "${{inputs.x}} is not known"),
        ({"name": "other"}, 422, "the body says 'other'"),
        ({"services": {}}, 422, "not supported yet"),
    ],
)
async def test_a_job_that_cannot_be_is_refused_with_the_reason(
    api: Api, job: Any, different: dict[str, Any], status: int, words: str
) -> None:
    answer = await api.ask("PUT", f"{W}/jobs/j", json=job(**different))
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert (await api.ask("GET", f"{W}/jobs/j")).status_code == 404


async def test_pages_of_jobs_are_walked_by_their_cursor(api: Api, job: Any) -> None:
    for n in range(5):
        await api.ask("PUT", f"{W}/jobs/j{n}", json=job())
    seen: list[str] = []
    after: str | None = None
    for _ in range(5):
        page = (await api.ask("GET", f"{W}/jobs", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [row["name"] for row in page["value"]]
        if (after := page["next"]) is None:
            break
    assert seen == ["j4", "j3", "j2", "j1", "j0"]
    assert (await api.ask("GET", f"{W}/jobs", params={"limit": 0})).status_code == 422


async def test_a_job_is_canceled_once_and_explains_itself(api: Api, job: Any) -> None:
    await api.ask("PUT", f"{W}/jobs/j", json=job())
    waits = (await api.ask("GET", f"{W}/jobs/j/explain")).json()
    assert (waits["status"], waits["waiting"]["position"]) == ("Queued", 1)
    assert (await api.ask("POST", f"{W}/jobs/j/cancel")).json()["status"] == "Canceled"
    refused = await api.ask("POST", f"{W}/jobs/j/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal-transition")
    history = (await api.ask("GET", f"{W}/jobs/j/events")).json()["value"]
    assert [event["event"] for event in history] == ["created", "cancel_asked"]


async def test_a_cluster_is_made_changed_and_deleted(api: Api) -> None:
    body = {"type": "amlcompute", "size": "STANDARD_DS4_V2", "max_instances": 2}
    made = await api.ask("PUT", f"{W}/computes/c", json=body)
    assert made.status_code == 201
    assert "fitted to this machine: cpu-2" in made.json()["notice"]
    assert (await api.ask("PUT", f"{W}/computes/c", json=body)).status_code == 200
    changed = await api.ask("PATCH", f"{W}/computes/c", json={"max_instances": 3})
    assert changed.json()["max_instances"] == 3
    assert (await api.ask("PATCH", f"{W}/computes/c", json={"size": "cpu-1"})).status_code == 422
    assert (await api.ask("PUT", f"{W}/computes/c", json=body | {"size": "cpu-1"})).status_code == 409
    assert (await api.ask("PUT", f"{W}/computes/d", json=body | {"size": "cpu-8"})).status_code == 422
    assert (await api.ask("DELETE", f"{W}/computes/local")).status_code == 409
    assert (await api.ask("DELETE", f"{W}/computes/c")).json()["provisioning_state"] == "Deleting"


async def test_files_are_uploaded_as_a_snapshot_and_make_a_data_asset(api: Api) -> None:
    content = b"a,b\n1,2\n"
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = {"files": [{"mode": 420, "path": "d.csv", "sha256": sha256, "size": len(content)}], "kind": "folder"}
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    name = hashlib.sha256(canonical).hexdigest()
    missing = await api.ask("PUT", f"{W}/snapshots/{name}", content=canonical)
    assert (missing.status_code, missing.json()) == (202, {"missing": [sha256]})
    assert (await api.ask("PUT", f"{W}/blobs/{sha256}", content=b"other")).status_code == 409
    assert (await api.ask("PUT", f"{W}/blobs/{sha256}", content=content)).status_code == 201
    assert (await api.ask("PUT", f"{W}/blobs/{sha256}", content=content)).status_code == 200
    assert (await api.ask("PUT", f"{W}/snapshots/{name}", content=canonical)).status_code == 200
    assert (await api.ask("GET", f"{W}/blobs/{sha256}")).content == content
    asset = {"path": f"snapshot:{name}"}
    assert (await api.ask("POST", f"{W}/data/d/versions", json=asset)).json()["version"] == "1"
    assert (await api.ask("POST", f"{W}/data/d/versions", json=asset)).json()["version"] == "2"
    assert (await api.ask("PUT", f"{W}/data/d/versions/1", json=asset)).status_code == 200
    assert (await api.ask("GET", f"{W}/data/d/versions/latest")).json()["version"] == "2"


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a//b", "./a", "a\\b", "a\0b", "", ".", "a/."])
async def test_a_snapshot_whose_paths_escape_is_refused(api: Api, path: str) -> None:
    manifest = {"files": [{"mode": 420, "path": path, "sha256": "0" * 64, "size": 1}], "kind": "folder"}
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    answer = await api.ask("PUT", f"{W}/snapshots/{hashlib.sha256(canonical).hexdigest()}", content=canonical)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"command": "x", "environment": "minimal", "compute": "local", "inputs": {"x": NaN}}',
        b'{"command": "x", "environment": "minimal", "compute": "local", "inputs": {"x": 1e999}}',
        b'{"command": "x\\u0000y", "environment": "minimal", "compute": "local"}',
        b'{"command": "\\ud800", "environment": "minimal", "compute": "local"}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        json.dumps({f"k{n}": n for n in range(1_000_000)}).encode(),
    ],
    ids=["empty", "torn", "list", "null", "bytes", "nan", "infinity", "nul", "surrogate", "deep", "deeper", "wide"],
)
async def test_a_body_that_nobody_expects_is_refused_and_is_no_bug(api: Api, content: bytes) -> None:
    answer = await api.ask("PUT", f"{W}/jobs/j", content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 10_000
    assert (await api.ask("GET", f"{W}/jobs")).json()["value"] == []


async def test_addresses_and_methods_that_are_not_there_are_problems_too(api: Api) -> None:
    for method, path, status in (("GET", "/api/v1/nothing", 404), ("DELETE", f"{W}/jobs", 405)):
        answer = await api.ask(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_a_deployment_says_of_each_replica_whether_the_gateway_reaches_it_and_why_not(api: Api) -> None:
    first, second, third = (make_replica(number, sockets={"http": "unix:/r.sock"}) for number in (1, 2, 3))
    async with api.ctx.begin() as tx:
        await endpoints.add(tx, make_endpoint())
        await endpoints.add_deployment(tx, make_deployment(instance_count=3))
        for replica in (first, second, third):
            await runs.add(tx, replica, {})
    api.ctx.hub.reached = {first.key: Reach(is_up=True), second.key: Reach(is_up=False, why="connection refused")}
    view = (await api.ask("GET", f"{W}/online-endpoints/cancer/deployments/blue")).json()
    assert [(row["run"], row["answers"], row["why"]) for row in view["replicas"]] == [
        (first.key, True, ""),
        (second.key, False, "The gateway cannot reach it: connection refused."),
        (third.key, False, ""),
    ]
    assert (await api.ask("GET", f"{W}/online-endpoints/cancer/deployments")).json()["value"] == [view]

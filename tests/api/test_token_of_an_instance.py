"""What runs inside a compute instance asks as its owner does who works in the workspace, and no more."""

import hashlib
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.api.test_permissions import TOO_WEAK, guard, walk
from tests.factories import NOON, make_run

from ultramarine.domain.names import ComputeId
from ultramarine.domain.run import Mode, OwnerNoun, RunEvent, RunStatus
from ultramarine.services.identity import run_token
from ultramarine.store import runs

W = "/api/v1/workspaces/w"
ME = "data_scientist"
MANIFEST = b'{"files":[],"kind":"folder"}'
NOTEBOOK = {"notebook": "n.ipynb", "code": f"snapshot:{hashlib.sha256(MANIFEST).hexdigest()}"}
INSTANCE = {"type": "computeinstance", "size": "cpu-1"}


@pytest.fixture
async def inside(api: Api) -> Api:
    """With `inside` as the name of the token that the run of an instance has."""
    owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": ComputeId("c1"), "owner_name": "mine", "mode": Mode.INSTANCE}
    run = make_run("i1", user=ME, status=RunStatus.QUEUED, **owner)
    async with api.ctx.begin() as tx:
        await runs.add(tx, run, {})
    api.tokens["inside"] = run_token(api.ctx, run.key)
    return api


async def test_it_makes_jobs_and_assets_and_endpoints_and_instances_as_its_owner(inside: Api, job: Any) -> None:
    sha256 = hashlib.sha256(MANIFEST).hexdigest()
    sent = await inside.ask("PUT", f"{W}/snapshots/{sha256}", token="inside", content=MANIFEST)
    assert sent.status_code in (200, 201), sent.text
    notebook = {**{field: value for field, value in job().items() if field != "command"}, **NOTEBOOK}
    bodies: list[tuple[str, Any]] = [
        ("jobs/j", job()),
        ("jobs/n", notebook),
        ("environments/e/versions/1", {"requirements": []}),
        ("data/d/versions/1", {"type": "uri_folder", "path": f"snapshot:{sha256}"}),
        ("online-endpoints/p", {}),
        ("computes/second", INSTANCE),
    ]
    for path, body in bodies:
        made = await inside.ask("PUT", f"{W}/{path}", token="inside", json=body)
        assert made.status_code in (201, 202), f"{path}: {made.text}"
    assert (await inside.ask("GET", f"{W}/jobs/j", token="inside")).json()["user"] == ME
    assert (await inside.ask("GET", f"{W}/computes/second", token="inside")).json()["instance"]["owner"] == ME


@pytest.mark.parametrize("noun", ["jobs", "environments", "data", "models", "computes", "online-endpoints", "events"])
async def test_it_reads_its_workspace_and_no_other(inside: Api, noun: str) -> None:
    read = await inside.ask("GET", f"{W}/{noun}", token="inside")
    assert read.status_code == (503 if noun == "models" else 200), "the registry does not run here"
    assert (await inside.ask("GET", f"/api/v1/workspaces/v/{noun}", token="inside")).status_code == 403


async def test_what_its_owner_may_not_it_may_not(inside: Api) -> None:
    for method, path, route in walk(inside.app):
        if ME in TOO_WEAK.get(guard(route), ()):
            answer = await inside.ask(method, path, token="inside", json={"subject": "x", "runs": {}})
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code} {answer.text}"
            assert "What runs in a compute instance has its workspace" in answer.json()["hint"], path


async def test_what_it_made_stays_when_it_has_ended_and_its_token_does_not(inside: Api, job: Any) -> None:
    await inside.ask("PUT", f"{W}/jobs/j", token="inside", json=job())
    async with inside.ctx.begin() as tx:
        run = await runs.get(tx, "e1-i1-1")
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=NOON, reason="Asked by user.")
    assert (await inside.ask("GET", f"{W}/jobs/j", token="inside")).status_code == 401
    assert (await inside.ask("GET", f"{W}/jobs/j", token=ME)).json()["status"] == "Queued"

"""Deleting a workspace: refused while anything lives in it, then nobody comes in any more."""

from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON

from ultramarine.controllers.workspaces import WorkspaceLoop
from ultramarine.domain.compute import LOCAL, ComputeEvent
from ultramarine.domain.identity import Role
from ultramarine.services.identity import TokenSpec, create_token
from ultramarine.store import computes, installation

V = "/api/v1/workspaces/v"


@pytest.mark.parametrize(
    ("kind", "body", "named", "command"),
    [
        ("jobs", None, "job x (Queued)", "um job cancel -n x -w v"),
        ("online-endpoints", {}, "online endpoint x", "um online-endpoint delete -n x -w v"),
        ("computes", {"type": "amlcompute", "size": "cpu-1"}, "compute x (Succeeded)", "um compute delete -n x -w v"),
    ],
)
async def test_a_workspace_in_use_is_kept_and_what_lives_there_is_named(
    api: Api, job: Any, kind: str, body: dict[str, str] | None, named: str, command: str
) -> None:
    await api.ask("PUT", f"{V}/{kind}/x", json=job() if body is None else body)
    refused = await api.ask("DELETE", V)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert named in refused.json()["detail"]
    assert command in refused.json()["hint"]
    assert (await api.ask("GET", V, token="other")).json()["provisioning_state"] == "Succeeded"


async def test_the_default_workspace_cannot_be_deleted_and_one_that_is_not_there_neither(api: Api) -> None:
    assert (await api.ask("DELETE", "/api/v1/workspaces/default")).status_code == 409
    assert (await api.ask("DELETE", "/api/v1/workspaces/nowhere")).status_code == 404


async def test_a_workspace_that_is_being_deleted_takes_nothing_and_its_tokens_are_revoked(api: Api, job: Any) -> None:
    await api.ask("PUT", f"{V}/jobs/old", json=job())
    await api.ask("POST", f"{V}/jobs/old/cancel")
    asked = await api.ask("DELETE", V)
    assert (asked.status_code, asked.json()["provisioning_state"]) == (202, "Deleting")
    assert (await api.ask("GET", f"{V}/jobs", token="other")).status_code == 401
    no_packages: dict[str, Any] = {"requirements": []}
    for path, body in (
        ("jobs/new", job()),
        ("online-endpoints/new", {}),
        ("environments/e/versions/1", no_packages),
    ):
        assert (await api.ask("PUT", f"{V}/{path}", json=body)).status_code == 409
    assert (await api.ask("PUT", V, json={})).status_code == 409
    assert (await api.ask("DELETE", V)).json()["provisioning_state"] == "Deleting", "asked again it goes on"
    revoked = {row["subject"]: row["revoked_at"] for row in (await api.ask("GET", "/api/v1/tokens")).json()["value"]}
    assert revoked["other"]
    assert not revoked["reader"]


async def test_the_door_lets_nobody_into_a_workspace_that_is_being_deleted(api: Api) -> None:
    _, token = await create_token(api.ctx, TokenSpec(subject="ada", role=Role.DATA_SCIENTIST, workspace="w"))
    question = {"token": token, "purpose": "mlflow"}
    assert (await api.http.post("/internal/authorize", json=question)).json()["workspace"] == "w"
    every = {"token": api.tokens["owner"], "purpose": "mlflow"}
    assert (await api.http.post("/internal/authorize", json=every | {"workspace": "w"})).status_code == 200
    await api.ask("DELETE", "/api/v1/workspaces/w")
    assert (await api.http.post("/internal/authorize", json=question)).status_code == 401
    assert (await api.http.post("/internal/authorize", json=every | {"workspace": "w"})).status_code == 403


async def test_while_mlflow_does_not_answer_the_workspace_waits_for_its_end(api: Api) -> None:
    await api.ask("DELETE", V)
    loop = WorkspaceLoop(api.ctx)
    await loop.tick()
    async with api.ctx.begin() as tx:
        assert await installation.unusable_workspaces(tx) == []
        await computes.record(tx, await computes.get(tx, "v", LOCAL), ComputeEvent.EMPTIED, now=NOON)
    async with api.ctx.read() as tx:
        assert await installation.unusable_workspaces(tx) == ["v"]
    await loop.tick()
    assert (await api.ask("GET", V)).json()["provisioning_state"] == "Deleting"

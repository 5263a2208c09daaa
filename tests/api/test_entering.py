"""Who may enter a compute instance: what the gateway is answered, and the link that signs a browser in."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import EPOCH, NOON, make_run

from ultramarine.controllers.routes import RouteLoop
from ultramarine.domain.compute import ComputeEvent
from ultramarine.domain.identity import EVERY_WORKSPACE, Role
from ultramarine.domain.instance import Instance, InstanceEvent
from ultramarine.domain.run import Mode, OwnerNoun, RunEvent, RunStatus
from ultramarine.planning.routes import Upstreams
from ultramarine.routing.publisher import RoutePublisher
from ultramarine.services import identity
from ultramarine.services.elsewhere import secret_of
from ultramarine.services.identity import TokenSpec, run_token
from ultramarine.store import computes, installation, instances, runs

LAB = "/api/v1/workspaces/w/computes/lab"
OWNER = "data_scientist"
BODY = {"type": "computeinstance", "size": "cpu-1"}


async def made(api: Api, *, token: str = OWNER, **different: Any) -> Instance:
    """An instance `lab` that runs."""
    answer = await api.ask("PUT", LAB, token=token, json={**BODY, **different})
    assert answer.status_code == 201, answer.text
    async with api.ctx.begin() as tx:
        instance = await instances.find(tx, (await computes.get(tx, "w", "lab")).id)
        assert instance is not None
        return await instances.record(tx, instance, InstanceEvent.ANSWERS, now=NOON)


async def gone(api: Api) -> None:
    """Its deletion, to the end."""
    async with api.ctx.begin() as tx:
        compute = await computes.get(tx, "w", "lab")
        compute = await computes.record(tx, compute, ComputeEvent.DELETE_ASKED, now=NOON)
        await computes.record(tx, compute, ComputeEvent.EMPTIED, now=NOON)
        await instances.remove(tx, compute.id)


async def authorize(
    api: Api, token: str, *, purpose: str = "instance", name: str = "lab", workspace: str = "w"
) -> tuple[int, Any]:
    body = {"token": token, "purpose": purpose, "workspace": workspace, "instance": name}
    answer = await api.http.post("/internal/authorize", json=body)
    return answer.status_code, answer.json()


async def session(api: Api, *, token: str = OWNER) -> str:
    """A browser's cookie."""
    link = (await api.ask("POST", f"{LAB}/connect", token=token)).json()["url"]
    said = {"code": link.partition("code=")[2], "listener": "instances"}
    return (await api.http.post("/internal/exchange", json=said)).json()["session"]


async def enters(api: Api, cookie: str, **more: Any) -> int:
    return (await authorize(api, cookie, purpose="instance-session", **more))[0]


async def test_a_link_leads_to_an_application_that_there_is(api: Api):
    board = {"name": "board", "command": "x", "port": 6006}
    await made(api, custom_applications=[board])
    link = (await api.ask("POST", f"{LAB}/connect?application=board", token=OWNER)).json()["url"]
    said = {"code": link.partition("code=")[2], "listener": "instances"}
    answer = (await api.http.post("/internal/exchange", json=said)).json()
    assert (answer["redirect"], answer["path"]) == ("/instances/w/lab/proxy/board/", "/instances/w/lab/")
    refused = await api.ask("POST", f"{LAB}/connect?application=bored", token=OWNER)
    words = "There is no application of this instance named 'bored'. There is: board."
    assert (refused.status_code, refused.json()["detail"]) == (404, words)
    assert "custom_applications" in refused.json()["hint"]
    assert (await api.ask("POST", f"{LAB}/connect?application=board", token="compute_operator")).status_code == 403


async def test_its_owner_gets_a_link_that_is_good_once_and_leads_to_jupyterlab(api: Api):
    instance = await made(api)
    answer = await api.ask("POST", f"{LAB}/connect", token=OWNER)
    link = answer.json()["url"]
    assert (answer.status_code, link.partition("=")[0]) == (201, f"{api.ctx.site.instances_address}/login?code")
    said = {"code": link.partition("code=")[2], "listener": "instances"}
    first, second = [await api.http.post("/internal/exchange", json=said) for _ in range(2)]
    assert first.json()["redirect"] == "/instances/w/lab/lab"
    assert first.json()["path"] == "/instances/w/lab/"
    assert second.status_code == 401
    status, answer = await authorize(api, first.json()["session"], purpose="instance-session")
    expected = {"workspace": "w", "subject": OWNER, "instance": instance.id, "cache_s": 5}
    assert (status, answer) == (200, expected)


async def test_a_link_is_for_its_own_origin_and_for_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch):
    await made(api)
    for make, path, listener in (
        (f"{LAB}/connect", {}, "second"),
        ("/api/v1/login-codes", {"json": {"workspace": "w"}}, "instances"),
    ):
        link = (await api.ask("POST", make, token=OWNER, **path)).json()["url"]
        said = {"code": link.partition("code=")[2]}
        refused = await api.http.post("/internal/exchange", json=said | {"listener": listener})
        assert refused.status_code == 401
        tried_again = await api.http.post("/internal/exchange", json=said)
        assert tried_again.status_code == 401
    late = replace(api.ctx, clock=lambda: NOON + timedelta(seconds=61))
    link = (await api.ask("POST", f"{LAB}/connect", token=OWNER)).json()["url"]
    monkeypatch.setattr(api.app.state, "ctx", late)
    said = {"code": link.partition("code=")[2], "listener": "instances"}
    assert (await api.http.post("/internal/exchange", json=said)).status_code == 401


async def test_nobody_but_its_owner_enters_whatever_their_role(api: Api):
    await made(api)
    for name, seen in (
        (OWNER, 200),
        ("owner", 403),
        ("owner_of_w", 403),
        ("compute_operator", 403),
        ("reader", 403),
        ("other", 403),
    ):
        assert (await authorize(api, api.tokens[name]))[0] == seen, name
        assert (await api.ask("POST", f"{LAB}/connect", token=name)).status_code == (201 if seen == 200 else seen), name
    status, answer = await authorize(api, api.tokens["owner"])
    assert (status, "whatever their role" in answer["detail"]) == (403, True)
    assert (await authorize(api, "um_unknown"))[0] == 401
    assert (await authorize(api, ""))[0] == 401


async def test_a_token_of_the_owners_for_every_workspace_enters_and_one_that_may_only_look_does_not(api: Api):
    await made(api)
    for role, workspace, seen in (
        (Role.DATA_SCIENTIST, EVERY_WORKSPACE, 200),
        (Role.READER, "w", 403),
        (Role.OWNER, "v", 403),
    ):
        _, token = await identity.create_token(api.ctx, TokenSpec(subject=OWNER, role=role, workspace=workspace))
        assert (await authorize(api, token))[0] == seen, (role, workspace)


async def test_what_is_not_there_is_said_to_who_may_know_it_alone(api: Api):
    await made(api)
    await api.ask("PUT", "/api/v1/workspaces/w/computes/c", json={"type": "amlcompute", "size": "cpu-1"})
    for name in ("nowhere", "c", "local", ""):
        assert (await authorize(api, api.tokens[OWNER], name=name))[0] == 404, name
        assert (await authorize(api, api.tokens["other"], name=name))[0] == 403, name
        assert (await authorize(api, "um_unknown", name=name))[0] == 401, name


async def test_a_session_is_for_one_instance_and_no_token_is_one(api: Api):
    await made(api)
    await api.ask("PUT", "/api/v1/workspaces/w/computes/second", token=OWNER, json=BODY)
    cookie = await session(api)
    assert await enters(api, cookie) == 200
    assert await enters(api, cookie, name="second") == 401
    assert await enters(api, cookie, name="nowhere") == 401
    assert await enters(api, api.tokens[OWNER]) == 401
    assert (await authorize(api, cookie))[0] == 401
    assert (await authorize(api, cookie, purpose="session"))[0] == 401
    assert (await authorize(api, cookie, purpose="mlflow"))[0] == 401


async def test_what_is_changed_in_a_session_ends_it(api: Api):
    await made(api)
    cookie = await session(api)
    parts = cookie.split(":")
    for i in range(len(parts)):
        changed = [*parts[:i], parts[i][:-1] + ("1" if parts[i][-1] != "1" else "2"), *parts[i + 1 :]]
        assert await enters(api, ":".join(changed)) == 401, i
    for cut in ("", "entry", ":".join(parts[:-1])):
        assert await enters(api, cut) == 401


async def test_a_session_ends_with_the_token_that_it_was_made_by(api: Api):
    await made(api)
    token, bearer = await identity.create_token(
        api.ctx, TokenSpec(subject=OWNER, role=Role.DATA_SCIENTIST, workspace="w", expires_in_s=60)
    )
    api.tokens["mine"] = bearer
    cookie = await session(api, token="mine")
    assert await enters(api, cookie) == 200
    async with api.ctx.begin() as tx:
        await installation.revoke_token(tx, token.id, now=NOON)
    assert await enters(api, cookie) == 401


@pytest.mark.parametrize(("hours", "seen"), [(0, 200), (1, 401), (11, 200), (13, 401)])
async def test_a_session_ends_when_its_token_or_its_own_time_does(
    api: Api, monkeypatch: pytest.MonkeyPatch, hours: int, seen: int
):
    await made(api)
    if hours == 1:
        _, api.tokens["mine"] = await identity.create_token(
            api.ctx, TokenSpec(subject=OWNER, role=Role.DATA_SCIENTIST, workspace="w", expires_in_s=60)
        )
    cookie = await session(api, token="mine" if hours == 1 else OWNER)
    monkeypatch.setattr(api.app.state, "ctx", replace(api.ctx, clock=lambda: NOON + timedelta(hours=hours)))
    assert await enters(api, cookie) == seen


async def test_a_session_is_worth_nothing_for_an_instance_that_was_made_anew(api: Api):
    await made(api)
    cookie = await session(api)
    await gone(api)
    assert await enters(api, cookie) == 401
    await made(api)
    assert await enters(api, cookie) == 401
    assert await enters(api, await session(api)) == 200


async def test_one_that_is_being_deleted_lets_nobody_in(api: Api):
    await made(api)
    cookie = await session(api)
    assert (await api.ask("DELETE", LAB, token=OWNER)).status_code == 202
    assert await enters(api, cookie) == 401
    assert (await authorize(api, api.tokens[OWNER]))[0] == 404


async def test_one_that_does_not_run_has_no_link_and_says_what_to_type(api: Api):
    await api.ask("PUT", LAB, token=OWNER, json=BODY)
    refused = await api.ask("POST", f"{LAB}/connect", token=OWNER)
    assert (refused.status_code, "is Creating" in refused.json()["detail"]) == (409, True)
    assert "um compute start -n lab" in refused.json()["hint"]


async def test_what_runs_in_an_instance_enters_as_its_owner_until_the_run_has_ended_and_no_job_does(api: Api):
    instance = await made(api)
    owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": instance.id, "owner_name": "lab", "mode": Mode.INSTANCE}
    own = make_run("i1", user=OWNER, status=RunStatus.QUEUED, **owner)
    job = make_run("j1", user=OWNER)
    async with api.ctx.begin() as tx:
        for run in (own, job):
            await runs.add(tx, run, {})
    assert (await authorize(api, run_token(api.ctx, own.key)))[0] == 200
    assert (await authorize(api, run_token(api.ctx, job.key)))[0] == 403
    api.tokens["own"] = run_token(api.ctx, own.key)
    cookie = await session(api, token="own")
    assert await enters(api, cookie) == 200
    async with api.ctx.begin() as tx:
        await runs.record(tx, own, RunEvent.CANCEL_ASKED, now=NOON, reason="Asked by user.")
    assert await enters(api, cookie) == 401


async def test_a_job_enters_no_instance_also_one_of_who_bears_its_name(api: Api):
    body = BODY | {"create_on_behalf_of": {"user": "job train"}}
    assert (await api.ask("PUT", LAB, token="compute_operator", json=body)).status_code == 201
    job = make_run("j1", user=OWNER, owner_name="train", status=RunStatus.QUEUED)
    async with api.ctx.begin() as tx:
        await runs.add(tx, job, {})
    status, answer = await authorize(api, run_token(api.ctx, job.key))
    assert (status, answer["detail"]) == (403, "A job enters no compute instance, whoever has submitted it.")


async def test_what_runs_in_an_instance_enters_no_other_one_of_its_owner(api: Api):
    await made(api)
    await api.ask("PUT", "/api/v1/workspaces/w/computes/second", token=OWNER, json=BODY)
    async with api.ctx.begin() as tx:
        second = (await computes.get(tx, "w", "second")).id
        owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": second, "owner_name": "second", "mode": Mode.INSTANCE}
        own = make_run("i2", user=OWNER, status=RunStatus.QUEUED, **owner)
        await runs.add(tx, own, {})
    api.tokens["own"] = run_token(api.ctx, own.key)
    assert (await authorize(api, api.tokens["own"], name="second"))[0] == 200
    status, answer = await authorize(api, api.tokens["own"])
    assert (status, answer["detail"]) == (
        403,
        "This is the token of what runs in another instance; it does not enter lab.",
    )
    assert (await api.ask("POST", f"{LAB}/connect", token="own")).status_code == 403


async def test_links_that_nobody_came_with_are_forgotten(api: Api, monkeypatch: pytest.MonkeyPatch):
    await made(api)
    for _ in range(3):
        await api.ask("POST", f"{LAB}/connect", token=OWNER)
    assert len(api.ctx.codes) == 3
    monkeypatch.setattr(api.app.state, "ctx", replace(api.ctx, clock=lambda: NOON + timedelta(minutes=2)))
    await api.ask("POST", f"{LAB}/connect", token=OWNER)
    assert len(api.ctx.codes) == 1


async def test_the_table_has_the_instances_that_run_in_this_epoch_and_the_names_of_this_machine(
    api: Api, tmp_path: Path
):
    instance = await made(api)
    owner = {"owner_noun": OwnerNoun.INSTANCE, "owner_id": instance.id, "owner_name": "lab", "mode": Mode.INSTANCE}
    before = make_run("i0", status=RunStatus.RUNNING, sockets={"http": "unix:/old.sock"}, **owner)
    now = make_run("i1", status=RunStatus.RUNNING, sockets={"http": "unix:/r.sock"}, **owner)
    async with api.ctx.begin() as tx:
        for run in (now, replace(before, key=before.key.replace(EPOCH, "ebefore"))):
            await runs.add(tx, run, {"applications": {"board": 6006}})
    (tmp_path / "gateway").mkdir()
    upstreams = Upstreams(control="unix:/c.sock", mlflow="unix:/m.sock")
    publisher = RoutePublisher(tmp_path / "gateway")
    await RouteLoop(api.ctx, publisher, upstreams, hosts=lambda: ["gpu.example"]).tick()
    table = json.loads((tmp_path / "gateway" / "routes.json").read_text())
    assert table["hosts"] == ["gpu.example"]
    assert table["instances"] == {
        "w/lab": {
            "id": instance.id,
            "address": "unix:/r.sock",
            "base": "/instances/w/lab/",
            "secret": secret_of(api.ctx, now),
            "applications": {"board": 6006},
        }
    }

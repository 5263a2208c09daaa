"""Compute instances as they are asked for: whose they are, who may, and what cannot be."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.api.conftest import Api
from tests.factories import NOON

from ultramarine import curated
from ultramarine.domain.instance import InstanceEvent, InstanceSpec, InstanceStatus
from ultramarine.domain.names import ComputeId
from ultramarine.planning.idleness import Idleness
from ultramarine.services.client import client_zip
from ultramarine.services.instances import run_spec
from ultramarine.store import instances
from ultramarine_instance.settings import load

W = "/api/v1/workspaces/w"
MINE = f"{W}/computes/mine"
BODY = {"type": "computeinstance", "size": "cpu-1"}
SCHEDULE = {"action": "stop", "trigger": {"type": "cron", "expression": "0 19 * * 1-5", "time_zone": "Europe/Berlin"}}
ME = "data_scientist"


@pytest.fixture
async def mine(api: Api) -> Api:
    """An instance of a data scientist."""
    made = await api.ask("PUT", MINE, token=ME, json=BODY)
    assert made.status_code == 201, made.text
    return api


async def moved(api: Api, *events: InstanceEvent) -> None:
    """As its loop would move it."""
    for event in events:
        async with api.ctx.begin() as tx:
            (there,) = await instances.every(tx)
            await instances.record(tx, there, event, now=NOON, reason="As the test wants it.")


async def test_an_instance_of_ones_own_needs_no_right_to_operate(mine: Api) -> None:
    shown = (await mine.ask("GET", MINE, token="reader")).json()
    assert (shown["state"], shown["provisioning_state"], shown["size_used"]) == ("Creating", "Succeeded", "cpu-1")
    assert shown["targets"] == []
    assert shown["instance"] == {
        "state": "Creating",
        "reason": "",
        "owner": ME,
        "path": "/instances/w/mine/",
        "active_at": NOON.isoformat(),
        "awake_until": None,
        "busy_by": [],
        "stops_at": None,
    }


async def test_a_reader_makes_none(api: Api) -> None:
    assert (await api.ask("PUT", MINE, token="reader", json=BODY)).status_code == 403


async def test_one_for_somebody_else_is_an_operators_to_make_and_then_theirs(api: Api) -> None:
    body = BODY | {"create_on_behalf_of": {"user": ME}}
    assert (await api.ask("PUT", MINE, token=ME, json=body)).status_code == 403, "for oneself it goes without"
    made = await api.ask("PUT", MINE, token="compute_operator", json=body)
    assert (made.status_code, made.json()["instance"]["owner"]) == (201, ME)
    changed = await api.ask("PATCH", MINE, token=ME, json={"idle_time_before_shutdown_minutes": 30})
    assert (changed.status_code, changed.json()["instance"]["owner"]) == (200, ME)
    stopped = await api.ask("POST", f"{MINE}/stop", token=ME)
    assert (stopped.status_code, stopped.json()["state"]) == (202, "Stopping")
    given_away = await api.ask("PUT", MINE, token=ME, json=BODY | {"create_on_behalf_of": {"user": "bob"}})
    assert given_away.status_code == 409
    assert "is data_scientist's; it cannot become bob's" in given_away.json()["detail"]


ASKED = [
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("POST", "/restart", None),
    ("POST", "/resize", {"size": "cpu-2"}),
    ("POST", "/keep-awake", {"hours": 1}),
    ("PATCH", "", {"description": "x"}),
    ("PUT", "", BODY),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
async def test_somebody_elses_is_an_operators_and_its_owners_alone(
    mine: Api, method: str, path: str, body: object
) -> None:
    (bob,) = [(await mine.ask("POST", "/api/v1/tokens", json={"subject": "bob", "workspace": "w"})).json()["token"]]
    theirs = await mine.ask(method, MINE + path, token="", headers={"authorization": f"Bearer {bob}"}, json=body)
    assert theirs.status_code == 403, theirs.text
    assert "Compute instance mine is data_scientist's." in theirs.json()["detail"]
    assert (await mine.ask("GET", MINE)).json()["state"] == "Creating"
    own = await mine.ask(method, MINE + path, token=ME, json=body)
    assert own.status_code in (200, 202), own.text


async def test_clusters_stay_the_operators(api: Api) -> None:
    cluster = {"type": "amlcompute", "size": "cpu-1"}
    assert (await api.ask("PUT", f"{W}/computes/c", token=ME, json=cluster)).status_code == 403
    assert (await api.ask("PUT", f"{W}/computes/c", json=cluster)).status_code == 201
    for method, body in (("PUT", cluster), ("PATCH", {"max_instances": 2}), ("DELETE", None)):
        assert (await api.ask(method, f"{W}/computes/c", token=ME, json=body)).status_code == 403, method
    taken = await api.ask("PUT", f"{W}/computes/c", token=ME, json=BODY)
    assert (taken.status_code, "is of type amlcompute" in taken.json()["detail"]) == (409, True)
    for verb in ("start", "stop", "restart"):
        refused = await api.ask("POST", f"{W}/computes/c/{verb}", token=ME)
        assert refused.status_code == 422
        assert "is of type amlcompute, and no compute instance" in refused.json()["detail"]


async def test_it_is_started_stopped_and_restarted_and_asking_twice_is_no_error(mine: Api) -> None:
    async def asked(verb: str) -> tuple[int, str]:
        answer = await mine.ask("POST", f"{MINE}/{verb}", token=ME)
        return answer.status_code, answer.json().get("state") or answer.json()["code"]

    assert await asked("start") == (202, "Creating")
    assert await asked("stop") == (202, "Stopping")
    assert await asked("stop") == (202, "Stopping")
    assert await asked("start") == (202, "Restarting")
    assert await asked("stop") == (202, "Stopping")
    await moved(mine, InstanceEvent.ENDED)
    assert await asked("stop") == (202, "Stopped")
    assert await asked("restart") == (409, "illegal-transition")
    assert await asked("start") == (202, "Starting")
    await moved(mine, InstanceEvent.ANSWERS)
    assert await asked("restart") == (202, "Restarting")
    assert await asked("restart") == (202, "Restarting")
    happened = (await mine.ask("GET", f"{W}/events")).json()["value"]
    assert [h["event"] for h in happened if h["noun"] == "instance"] == [
        "created",
        *("stop_asked", "start_asked", "stop_asked", "ended", "start_asked", "answers", "restart_asked"),
    ]


async def test_a_size_that_does_not_fit_is_refused_and_changes_nothing(mine: Api) -> None:
    for size, status in (("gpu-1", 422), ("nothing", 404)):
        made = await mine.ask("PUT", f"{W}/computes/other", token=ME, json=BODY | {"size": size})
        assert (made.status_code, bool(made.json()["hint"])) == (status, True)
    resized = await mine.ask("POST", f"{MINE}/resize", token=ME, json={"size": "gpu-1"})
    assert (resized.status_code, "GPU" in resized.json()["detail"]) == (422, True)
    assert (await mine.ask("GET", MINE)).json()["size_used"] == "cpu-1"
    changed = await mine.ask("PUT", MINE, token=ME, json=BODY | {"size": "cpu-2"})
    assert (changed.status_code, changed.json()["hint"]) == (409, "um compute resize -n mine --size cpu-2")


async def test_a_resize_changes_the_size_and_restarts_what_is_up(mine: Api) -> None:
    await moved(mine, InstanceEvent.ANSWERS)
    same = await mine.ask("POST", f"{MINE}/resize", token=ME, json={"size": "cpu-1"})
    assert (same.status_code, same.json()["state"]) == (202, "Running"), "it has that size"
    other = (await mine.ask("POST", f"{MINE}/resize", token=ME, json={"size": "cpu-2"})).json()
    assert (other["state"], other["size"], other["size_used"], other["cpus"]) == ("Resizing", "cpu-2", "cpu-2", 2)
    await moved(mine, InstanceEvent.STOP_ASKED)
    ending = await mine.ask("POST", f"{MINE}/resize", token=ME, json={"size": "cpu-1"})
    assert (ending.status_code, "cannot be resized" in ending.json()["detail"]) == (409, True)
    await moved(mine, InstanceEvent.ENDED)
    back = (await mine.ask("POST", f"{MINE}/resize", token=ME, json={"size": "cpu-1"})).json()
    assert (back["state"], back["size_used"]) == ("Stopped", "cpu-1"), "its next machine has it"


async def test_its_idle_time_is_changed_and_null_means_never(mine: Api) -> None:
    assert "idle_time_before_shutdown_minutes" not in (await mine.ask("GET", MINE)).json(), "60 where not given"
    for minutes in (15, None):
        await mine.ask("PATCH", MINE, token=ME, json={"idle_time_before_shutdown_minutes": minutes})
        assert (await mine.ask("GET", MINE)).json()["idle_time_before_shutdown_minutes"] == minutes
    await mine.ask("PATCH", MINE, token=ME, json={"description": "x"})
    assert (await mine.ask("GET", MINE)).json()["idle_time_before_shutdown_minutes"] is None


async def test_a_bad_schedule_is_refused_with_its_place(mine: Api) -> None:
    bad = SCHEDULE | {"trigger": {"type": "cron", "expression": "0 25 * * *"}}
    schedules = {"schedules": {"compute_start_stop": [SCHEDULE, bad]}}
    for method, path, body in (("PUT", f"{W}/computes/other", BODY | schedules), ("PATCH", MINE, schedules)):
        refused = await mine.ask(method, path, token=ME, json=body)
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("schedules.compute_start_stop[1].trigger.expression: '0 25")


async def test_new_schedules_begin_when_they_are_given(mine: Api) -> None:
    later = NOON + timedelta(hours=1)
    object.__setattr__(mine.ctx, "clock", lambda: later)
    for body, at in (({"description": "x"}, NOON), ({"schedules": {"compute_start_stop": [SCHEDULE]}}, later)):
        assert (await mine.ask("PATCH", MINE, token=ME, json=body)).status_code == 200
        async with mine.ctx.read() as tx:
            (there,) = await instances.every(tx)
        assert there.scheduled_at == at
    explained = (await mine.ask("GET", f"{MINE}/explain", token="reader")).json()["instance"]
    assert explained["next"] == {"action": "stop", "at": "2026-01-01T18:00:00+00:00"}


async def test_it_is_kept_awake_for_some_hours(mine: Api) -> None:
    kept = (await mine.ask("POST", f"{MINE}/keep-awake", token=ME, json={"hours": 8})).json()
    assert kept["instance"]["awake_until"] == (NOON + timedelta(hours=8)).isoformat()
    back = (await mine.ask("POST", f"{MINE}/keep-awake", token=ME, json={"hours": 0})).json()
    assert back["instance"]["awake_until"] is None
    for hours in (-1, 1000, "long"):
        assert (await mine.ask("POST", f"{MINE}/keep-awake", token=ME, json={"hours": hours})).status_code == 422


async def test_what_keeps_it_up_is_explained(mine: Api) -> None:
    await moved(mine, InstanceEvent.ANSWERS)
    async with mine.ctx.read() as tx:
        (there,) = await instances.every(tx)
    assert there.status is InstanceStatus.RUNNING
    stops = NOON + timedelta(minutes=4)
    mine.ctx.hub.idleness = {ComputeId(there.id): Idleness(active_at=NOON, stops_at=stops, why="Idle since 12:00 UTC.")}
    explained = (await mine.ask("GET", f"{MINE}/explain", token="reader")).json()["instance"]
    assert (explained["state"], explained["why"]) == ("Running", "Idle since 12:00 UTC.")
    assert explained["stops_at"] == stops.isoformat()
    (listed,) = [c for c in (await mine.ask("GET", f"{W}/computes")).json()["value"] if c["name"] == "mine"]
    assert listed["instance"]["stops_at"] == stops.isoformat()


async def test_it_takes_no_jobs(mine: Api, job: Any) -> None:
    refused = await mine.ask("PUT", f"{W}/jobs/j", token=ME, json=job(compute="mine"))
    assert refused.status_code == 422
    assert refused.json()["detail"] == (
        "compute: mine is a compute instance, somebody's own machine, and takes no jobs."
    )


async def test_one_that_is_being_deleted_takes_nothing_more(mine: Api) -> None:
    gone = await mine.ask("DELETE", MINE, token=ME)
    assert (gone.status_code, gone.json()["state"]) == (202, "Deleting")
    for method, path, body in ASKED[:6]:
        late = await mine.ask(method, MINE + path, token=ME, json=body)
        assert (late.status_code, "being deleted" in late.json()["detail"]) == (409, True), path


@pytest.mark.parametrize("field", ["identity", "network_settings", "ssh_settings"])
async def test_what_azure_has_and_is_not_there_yet_is_named(api: Api, field: str) -> None:
    refused = await api.ask("PUT", MINE, token=ME, json=BODY | {field: {}})
    assert (refused.status_code, refused.json()["code"]) == (422, "not-supported-yet")
    assert field in refused.json()["detail"]


async def test_what_runs_inside_is_told_what_makes_a_kernel_and_a_client_of_each_python_and_how_this_site_builds(
    mine: Api, tmp_path: Path
) -> None:
    async with mine.ctx.read() as tx:
        (there,) = await instances.every(tx)
    spec = InstanceSpec.model_validate(BODY | {"name": "mine"})
    run = run_spec(mine.ctx, there, spec, zip_sha256="0" * 64, is_elsewhere=False)
    files = {file["path"]: file["sha256"] for file in run["files"]}
    assert mine.ctx.blobs.read(files["client.zip"]) == client_zip()
    assert run["behind"] == [{"workspace": "**", "name": "client", "version": curated.load()["client"].version}]
    settings = load(mine.ctx.blobs.path(files["settings.json"]))
    assert (settings.workspace, settings.name, settings.owner) == ("w", "mine", ME)
    for name, recipes in (("kernel", settings.behind), ("client", settings.client)):
        one = curated.load()[name]
        assert list(recipes) == [python for python in mine.ctx.site.pythons if python in one.pythons]
        for python, recipe in recipes.items():
            lock = one.lock(python=python, platform=mine.ctx.site.platform)
            assert (recipe.digest, recipe.lock.decode()) == (lock.digest, lock.text)
    assert settings.options == mine.ctx.site.options

"""Who may ask MLflow, for which workspace, and whose run it is: what the gateway is answered."""

from collections.abc import Callable
from typing import Any

from tests.api.conftest import Api

from ultramarine.domain.run import RunEvent
from ultramarine.services.identity import WorkspaceSpec, found_workspace, run_token
from ultramarine.store import runs
from ultramarine.tracking.plugin.ultramarine_mlflow.names import workspace_in_mlflow


async def authorize(api: Api, token: str, *, workspace: str | None = None, purpose: str = "mlflow") -> tuple[int, Any]:
    body = {"token": token, "purpose": purpose, "workspace": workspace}
    answer = await api.http.post("/internal/authorize", json=body)
    return answer.status_code, answer.json()


async def test_a_token_acts_for_the_workspace_that_is_named_if_it_is_good_for_it(api: Api):
    for token, named, seen in (
        ("owner", "v", (200, "v")),
        ("owner", "w", (200, "w")),
        ("owner", None, (200, "default")),
        ("owner", "nowhere", (403, None)),
        ("owner_of_w", "w", (200, "w")),
        ("owner_of_w", None, (200, "w")),
        ("owner_of_w", "v", (403, None)),
        ("data_scientist", "w", (200, "w")),
        ("reader", "w", (200, "w")),
        ("reader", None, (200, "w")),
        ("reader", "v", (403, None)),
    ):
        status, answer = await authorize(api, api.tokens[token], workspace=named)
        assert (status, answer.get("workspace")) == seen, (token, named)
        assert answer.get("right") == (None if status == 403 else "read" if token == "reader" else "work")
    assert (await authorize(api, "um_unknown"))[0] == 401


async def test_a_workspace_may_be_named_as_mlflow_calls_it(api: Api):
    async with api.ctx.begin() as tx:
        await found_workspace(tx, api.ctx, "Team_A", WorkspaceSpec(), now=api.ctx.clock())
    for name in ("Team_A", workspace_in_mlflow("Team_A")):
        status, answer = await authorize(api, api.tokens["owner"], workspace=name)
        assert (status, answer["workspace"], answer["reach"]) == (200, "Team_A", "*")


async def test_a_runs_own_token_says_which_job_it_is_of_and_is_good_for_its_workspace_alone(
    api: Api, job: Callable[..., dict[str, Any]]
):
    made = (await api.ask("PUT", "/api/v1/workspaces/w/jobs/j", json=job())).json()
    async with api.ctx.read() as tx:
        run = await runs.newest(tx, made["id"])
    token = run_token(api.ctx, run.key)
    for named in (None, "w"):
        status, answer = await authorize(api, token, workspace=named)
        assert (status, answer["workspace"], answer["run"], answer["reach"]) == (200, "w", made["id"], "w")
    assert (await authorize(api, token, workspace="v"))[0] == 403
    assert (await authorize(api, api.tokens["owner"]))[1]["run"] is None
    async with api.ctx.begin() as tx:
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=api.ctx.clock(), reason="Asked by user.")
    assert (await authorize(api, token))[0] == 401


async def session(api: Api, token: str, **opening: Any) -> tuple[str, str]:
    """Sign a browser in: its cookie, and where it is sent."""
    link = (await api.ask("POST", "/api/v1/login-codes", token=token, json=opening)).json()["url"]
    got = (await api.http.post("/internal/exchange", json={"code": link.partition("code=")[2]})).json()
    return got["session"], got["redirect"]


async def test_a_browser_shows_the_workspace_it_was_opened_for_and_may_choose_what_its_token_is_good_for(api: Api):
    cookie, place = await session(api, "owner", workspace="v")
    assert place == f"/mlflow/#/?workspace={workspace_in_mlflow('v')}"
    for named, seen in ((None, "v"), ("v", "v"), ("w", "w")):
        status, answer = await authorize(api, cookie, workspace=named, purpose="session")
        assert (status, answer["workspace"], answer["run"]) == (200, seen, None)
    cookie, place = await session(api, "data_scientist")
    assert place == f"/mlflow/#/?workspace={workspace_in_mlflow('w')}"
    assert (await authorize(api, cookie, purpose="session"))[1]["workspace"] == "w"
    assert (await authorize(api, cookie, workspace="v", purpose="session"))[0] == 403
    widened = cookie.replace(":w:", ":*:")
    assert (await authorize(api, widened, purpose="session"))[0] == 401


async def test_a_readers_browser_may_only_look(api: Api):
    for token, right in (("reader", "read"), ("data_scientist", "work"), ("owner", "work")):
        cookie, _ = await session(api, token, workspace="w")
        status, answer = await authorize(api, cookie, purpose="session")
        assert (status, answer["right"]) == (200, right)
    cookie, _ = await session(api, "reader")
    assert (await authorize(api, cookie.replace(":read:", ":work:"), purpose="session"))[0] == 401


async def test_a_link_opens_only_workspaces_that_there_are_and_that_the_token_is_good_for(api: Api):
    for token, workspace, status in (("owner", "nowhere", 404), ("data_scientist", "v", 403), ("reader", "w", 201)):
        opening = {"workspace": workspace}
        assert (await api.ask("POST", "/api/v1/login-codes", token=token, json=opening)).status_code == status


async def test_mlflow_is_told_all_workspaces(api: Api):
    secret = {"x-ultramarine-internal": api.ctx.secrets.of("internal")}
    answer = await api.ask("GET", "/internal/tracking/workspaces", token="", headers=secret)
    assert answer.json() == ["v", "w"]

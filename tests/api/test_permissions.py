"""Every route needs a token that is good for it: walked over the application, so that no new one is forgotten."""

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute
from tests.api.conftest import Api

from ultramarine.domain.run import RunEvent
from ultramarine.services.identity import run_token
from ultramarine.store import runs

#: What answers without a token: it says nothing, or the token is in the body, or the secret is in the message itself.
OPEN = {"/healthz", "/internal/authorize", "/internal/exchange", "/internal/held", "/runner/v1/hello"}
#: By the dependency that a route states, the roles of workspace `w` that may not.
TOO_WEAK = {
    "_work": ("reader",),
    "_operate": ("reader", "data_scientist"),
    "_own": ("reader", "data_scientist", "compute_operator", "owner_of_w"),
    "_observe": ("reader", "data_scientist", "compute_operator", "owner_of_w"),
    "_read": (),
    "_anyone": (),
    "_node": ("owner",),
    "_browser": ("owner",),
    "_inside": ("owner",),
}


def flat(routes: Any) -> Iterator[Any]:
    """Routes of the application and of the routers that it includes."""
    for route in routes:
        router = getattr(route, "original_router", None)
        yield from [route] if router is None else flat(router.routes)


def walk(app: Any) -> Iterator[tuple[str, str, APIRoute]]:
    """Every (method, path with its parts filled in, route)."""
    for route in flat(app.routes):
        if isinstance(route, APIRoute):
            filled = route.path
            for part in route.param_convertors:
                value = {"workspace": "w", "attempt": "1", "sha256": "0" * 64}.get(part, "x")
                filled = filled.replace(f"{{{part}}}", value).replace(f"{{{part}:path}}", value)
            for method in sorted(route.methods or ()):
                yield method, filled, route


def guard(route: APIRoute) -> str:
    found = [d.call.__name__ for d in route.dependant.dependencies if d.call and d.call.__name__ in TOO_WEAK]
    return found[0] if found else ""


async def test_every_route_states_who_may(api: Api) -> None:
    walked = list(walk(api.app))
    assert len(walked) > 40
    assert {route.path for _, _, route in walked if not guard(route)} == OPEN


async def test_without_a_valid_token_every_route_refuses(api: Api) -> None:
    for method, path, route in walk(api.app):
        if route.path in OPEN:
            continue
        for headers in ({}, {"authorization": "Bearer um_wrong"}, {"authorization": "Basic x"}):
            answer = await api.ask(method, path, token="", headers=headers, json={"subject": "x"})
            expected = {404} if guard(route) == "_inside" else {401}
            # A body is read before its sender is known; what is wrong with it may be said first, and nothing else.
            assert answer.status_code in expected | {422}, f"{method} {path}: {answer.status_code} {answer.text}"


async def test_a_token_of_another_workspace_is_refused(api: Api) -> None:
    for method, path, route in walk(api.app):
        if guard(route) in ("_read", "_work", "_operate"):
            answer = await api.ask(method, path, token="other", json={"key_type": "primary"}, params={"offset": 0})
            assert answer.status_code == 403, f"{method} {path}: {answer.status_code}"


async def test_a_role_that_is_too_weak_is_refused(api: Api) -> None:
    for method, path, route in walk(api.app):
        for role in TOO_WEAK.get(guard(route), ()):
            answer = await api.ask(method, path, token=role, json={"key_type": "primary", "subject": "x", "runs": {}})
            refusals = {"_node": 401, "_browser": 401, "_inside": 404}
            expected = {refusals.get(guard(route), 403), 422 if guard(route) == "_node" else 0}
            assert answer.status_code in expected, f"{role}: {method} {path}: {answer.status_code} {answer.text}"


async def test_a_runs_own_token_is_good_for_its_workspace_until_the_run_has_ended(api: Api, job: Any) -> None:
    await api.ask("PUT", "/api/v1/workspaces/w/jobs/j", json=job())
    async with api.ctx.read() as tx:
        (run,) = await runs.open_ones(tx)
    mine = {"authorization": f"Bearer {run_token(api.ctx, run.key)}"}

    async def status(path: str, method: str = "GET", body: object = None) -> int:
        return (await api.ask(method, path, token="", headers=mine, json=body)).status_code

    assert await status("/api/v1/workspaces/w/jobs/j") == 200
    assert await status("/api/v1/workspaces/v/jobs") == 403
    for type in ("amlcompute", "computeinstance"):
        assert await status("/api/v1/workspaces/w/computes/c", "PUT", {"type": type, "size": "cpu-1"}) == 403
    assert await status("/api/v1/tokens") == 403
    async with api.ctx.begin() as tx:
        await runs.record(tx, run, RunEvent.CANCEL_ASKED, now=api.ctx.clock())
    assert await status("/api/v1/workspaces/w/jobs/j") == 401


async def test_a_run_token_with_another_runs_secret_is_refused(api: Api, job: Any) -> None:
    await api.ask("PUT", "/api/v1/workspaces/w/jobs/j", json=job())
    async with api.ctx.read() as tx:
        (run,) = await runs.open_ones(tx)
    secret = run_token(api.ctx, run.key).rpartition(":")[2]
    for forged in (f"run:e1-other-1:{secret}", f"run:{run.key}:", f"run:{run.key}", "run:::", f"run:{run.key}:ü"):
        answer = await api.ask(
            "GET", "/api/v1/workspaces/w/jobs", token="", headers={"authorization": f"Bearer {forged}".encode()}
        )
        assert answer.status_code == 401


async def test_a_revoked_token_is_refused_at_once(api: Api) -> None:
    made = (await api.ask("POST", "/api/v1/tokens", json={"subject": "ann", "workspace": "w"})).json()
    mine = {"authorization": f"Bearer {made['token']}"}
    assert (await api.ask("GET", "/api/v1/workspaces/w", token="", headers=mine)).status_code == 200
    assert (await api.ask("DELETE", f"/api/v1/tokens/{made['id']}")).status_code == 204
    answer = await api.ask("GET", "/api/v1/workspaces/w", token="", headers=mine)
    assert answer.status_code == 401
    assert "was revoked" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_list_of_workspaces_shows_those_that_the_token_is_good_for(api: Api) -> None:
    for token, names in (("owner", ["v", "w"]), ("reader", ["w"]), ("other", ["v"])):
        listed = (await api.ask("GET", "/api/v1/workspaces", token=token)).json()["value"]
        assert [w["name"] for w in listed] == names


async def test_tokens_are_shown_once_and_kept_nowhere(api: Api) -> None:
    made = (await api.ask("POST", "/api/v1/tokens", json={"subject": "ann"})).json()
    listed = (await api.ask("GET", "/api/v1/tokens")).text
    assert made["id"] in listed
    assert made["token"] not in listed

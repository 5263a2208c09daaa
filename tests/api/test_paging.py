"""Every list is given a page at a time, in the same way."""

import hashlib
import itertools
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.api.conftest import Api
from tests.api.test_permissions import walk
from tests.factories import later, make_allocation, make_cluster

from ultramarine.domain.allocation import AllocationStatus
from ultramarine.services.identity import TokenSpec, create_token
from ultramarine.services.snapshots import put_snapshot
from ultramarine.store import allocations, computes

W = "/api/v1/workspaces/w"
NAMES = ["a", "b", "b-1", "c"]
EMPTY = b'{"files":[],"kind":"folder"}'


async def pages(api: Api, path: str, *, limit: int) -> list[list[Any]]:
    """The rows, page by page."""
    found: list[list[Any]] = []
    after: dict[str, str] = {}
    for _ in range(100):
        answer = await api.ask("GET", path, params={"limit": limit} | after)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found.append(page["value"])
        if page["next"] is None:
            return found
        after = {"after": page["next"]}
    raise AssertionError(f"{path} has no end")


async def make_things(api: Api, job: Any) -> None:
    """Four of each noun."""
    for name in NAMES:
        cluster: dict[str, Any] = {"type": "amlcompute", "size": "cpu-1"}
        empty: dict[str, Any] = {"requirements": []}
        for path, body in (
            (f"{W}/computes/{name}", cluster),
            (f"{W}/jobs/{name}", job()),
            (f"{W}/online-endpoints/{name}", {}),
            (f"/api/v1/workspaces/w-{name}", {}),
            (f"{W}/environments/{name}/versions/1", empty),
            (f"{W}/environments/many/versions/{name}", empty),
        ):
            answer = await api.ask("PUT", path, json=body)
            assert answer.status_code == 201, answer.text
        await create_token(api.ctx, TokenSpec(subject=name))
    await api.ask("POST", f"{W}/jobs/a/cancel")


LISTS = [
    ("/api/v1/workspaces", "name", ["v", "w", "w-a", "w-b", "w-b-1", "w-c"]),
    (f"{W}/computes", "name", ["a", "b", "b-1", "c", "local"]),
    (f"{W}/jobs", "name", ["c", "b-1", "b", "a"]),
    (f"{W}/jobs/a/events", "event", ["created", "cancel_asked"]),
    (f"{W}/online-endpoints", "name", NAMES),
    (f"{W}/environments", "name", ["a", "b", "b-1", "c", "many", "minimal"]),
    (f"{W}/environments/many/versions", "version", NAMES[::-1]),
    (f"{W}/compute-sizes", "name", ["cpu-1", "cpu-2", "cpu-8", "gpu-1"]),
    (f"{W}/compute-usage", "name", ["cpus", "memory_bytes", "gpus"]),
]


@pytest.mark.parametrize(("path", "field", "expected"), LISTS, ids=[path for path, _, _ in LISTS])
async def test_pages_hold_each_row_once_and_in_order(
    api: Api, job: Any, path: str, field: str, expected: list[str]
) -> None:
    await make_things(api, job)
    for limit in (1, 2, len(expected), 1000):
        found = await pages(api, path, limit=limit)
        assert [row[field] for row in itertools.chain(*found)] == expected
        assert all(len(page) == limit for page in found[:-1])
        assert found[-1], "the last page is not empty: the one before it would have been the last"


async def test_pages_of_tokens_are_by_time_and_hold_those_of_one_moment(api: Api, job: Any) -> None:
    await make_things(api, job)
    whole = (await pages(api, "/api/v1/tokens", limit=1000))[0]
    assert len({row["id"] for row in whole}) == len(whole) >= 10
    assert list(itertools.chain(*await pages(api, "/api/v1/tokens", limit=3))) == whole


async def test_pages_of_data_are_of_the_newest_versions(api: Api) -> None:
    manifest, path = await _snapshot(api)
    assert manifest == []
    for name in NAMES:
        for version in ("1", "2"):
            answer = await api.ask("PUT", f"{W}/data/{name}/versions/{version}", json={"path": path})
            assert answer.status_code == 201, answer.text
    found = list(itertools.chain(*await pages(api, f"{W}/data", limit=3)))
    assert [(row["name"], row["version"]) for row in found] == [(name, "2") for name in NAMES]
    versions = await pages(api, f"{W}/data/a/versions", limit=1)
    assert [[row["version"] for row in page] for page in versions] == [["2"], ["1"]]


async def test_pages_of_nodes_are_by_age(api: Api) -> None:
    cluster = make_cluster(id="many")
    async with api.ctx.begin() as tx:
        await computes.add(tx, cluster)
        for number in (1, 2, 10):
            new = make_allocation(number, compute=cluster, created_at=later(number))
            await allocations.add(tx, new)
        await allocations.add(tx, make_allocation(3, compute=cluster, status=AllocationStatus.ENDED))
    whole = await pages(api, f"{W}/computes/{cluster.name}/nodes", limit=2)
    assert [len(page) for page in whole] == [2, 1]
    names = [row["name"].rpartition(".")[0].rpartition("-")[2] for row in itertools.chain(*whole)]
    assert names == ["1", "2", "10"]


async def test_a_row_that_comes_between_two_pages_moves_no_other(api: Api, job: Any) -> None:
    for name in ("a", "b", "c"):
        await api.ask("PUT", f"{W}/jobs/{name}", json=job())
    first = (await api.ask("GET", f"{W}/jobs", params={"limit": 2})).json()
    await api.ask("PUT", f"{W}/jobs/new", json=job())
    second = (await api.ask("GET", f"{W}/jobs", params={"limit": 2, "after": first["next"]})).json()
    assert [row["name"] for row in first["value"] + second["value"]] == ["c", "b", "a"]
    assert second["next"] is None


def lists(api: Api) -> list[tuple[str, APIRoute]]:
    found = [(path, route) for method, path, route in walk(api.app) if method == "GET" and "_request" in _called(route)]
    assert len(found) >= 15
    return found


async def test_what_is_no_cursor_and_no_limit_is_refused_by_every_list(api: Api, job: Any) -> None:
    for kind, body in (
        ("jobs", job()),
        ("computes", {"type": "amlcompute", "size": "cpu-1"}),
        ("online-endpoints", {}),
    ):
        assert (await api.ask("PUT", f"{W}/{kind}/x", json=body)).status_code == 201
    for path, _ in lists(api):
        for query in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}):
            assert (await api.ask("GET", path, params=query)).status_code == 422, (path, query)
        for cursor in ("1,2,3", "9" * 30 + ",x,x", "\0"):
            answer = await api.ask("GET", path, params={"after": cursor})
            is_mlflow = path.startswith(f"{W}/models") and answer.json()["code"] == "tracking-unavailable"
            is_not_there = path.endswith("/deployments/x/collected") and answer.json()["code"] == "not-found"
            assert answer.status_code == 422 or is_mlflow or is_not_there, (path, cursor, answer.text)


async def test_every_answer_with_a_next_is_a_list_that_takes_it(api: Api) -> None:
    known = {path for path, _ in lists(api)}
    for method, path, _ in walk(api.app):
        if method == "GET" and path.startswith("/api/v1/") and "stream" not in path:
            answer = await api.ask("GET", path)
            if answer.headers["content-type"] == "application/json" and "next" in answer.text:
                assert "next" not in answer.json() or path in known, path


def _called(route: APIRoute) -> list[str]:
    return [d.call.__name__ for d in route.dependant.dependencies if d.call]


async def _snapshot(api: Api) -> tuple[list[str], str]:
    sha256 = hashlib.sha256(EMPTY).hexdigest()
    return put_snapshot(api.ctx, sha256, EMPTY), f"snapshot:{sha256}"

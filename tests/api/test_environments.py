"""Environments are checked before they are made, for as long as somebody waits for it, and few at a time."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api.conftest import Api
from tests.factories import make_site
from tests.runner_environments.building import UV
from tests.runner_environments.index import Index, alone, make_wheel

from ultramarine.api.app import build
from ultramarine.controllers.environments import EnvironmentLoop
from ultramarine.domain.environment import EnvironmentSpec
from ultramarine.domain.errors import Unavailable
from ultramarine.locks.lock import Lock, Uv
from ultramarine.locks.site import SiteOptions
from ultramarine.services import environments
from ultramarine.services.context import CHECKS_MAX, Context

CHECK = "/api/v1/workspaces/w/environment-check"
W = "/api/v1/workspaces/w/environments"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with alone(tmp_path / "wheels", monkeypatch) as index:
        make_wheel(index.folder, "alpha", needs=("beta<2",))
        make_wheel(index.folder, "beta", "1.5")
        make_wheel(index.folder, "beta", "2.0")
        yield index


@pytest.fixture
async def locking(api: Api, index: Index, tmp_path: Path) -> AsyncIterator[Api]:
    """An api that locks by uv, from this index."""
    uv = Uv(program=UV, cache=tmp_path / "uv", options=SiteOptions(index_url=index.url))
    ctx = replace(api.ctx, uv=uv, site=make_site(pythons=("3.11", "3.10", "3.9"), platform="linux-x86_64"))
    app = build(ctx)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield replace(api, ctx=ctx, app=app, http=http)


async def check(api: Api, *lines: str) -> httpx.Response:
    return await api.ask("POST", CHECK, json={"requirements": list(lines)})


async def asked(index: Index, count: int) -> None:
    """Until the index was asked so often."""
    async with asyncio.timeout(30):
        while len(index.asked) < count:  # noqa: ASYNC110  (another thread's list)
            await asyncio.sleep(0.02)


async def test_a_check_gives_what_the_environment_will_have_and_keeps_nothing(locking: Api) -> None:
    checked = (await check(locking, "alpha")).json()
    assert checked["packages"] == [{"name": "alpha", "version": "1.0"}, {"name": "beta", "version": "1.5"}]
    assert (await locking.ask("GET", f"{W}/e/versions/1")).status_code == 404
    await locking.ask("PUT", f"{W}/e/versions/1", json={"requirements": ["alpha"]})
    before = await locking.ask("GET", f"{W}/e/versions/1/lock")
    assert (before.status_code, before.json()["detail"]) == (
        409,
        "Environment e:1 is Resolving: its packages are not known.",
    )
    await EnvironmentLoop(locking.ctx).tick()
    lock = (await locking.ask("GET", f"{W}/e/versions/latest/lock", token="reader")).json()
    made = (await locking.ask("GET", f"{W}/e/versions/1")).json()
    assert checked["digest"] == lock["digest"] == made["digest"]
    assert checked["lock"] == lock["lock"]


async def test_what_is_noteworthy_is_said(locking: Api, index: Index) -> None:
    index.withdrawn["beta-2.0-py3-none-any.whl"] = "a bad build"
    assert (await check(locking, "beta==2.0")).json()["warnings"] == ['`beta==2.0` is yanked (reason: "a bad build").']


async def test_what_does_not_go_together_is_refused_by_name(locking: Api) -> None:
    refused = await check(locking, "alpha", "beta>=2")
    assert (refused.status_code, refused.json()["code"]) == (422, "unsolvable")
    assert "alpha depend on beta<2" in refused.json()["detail"]


async def test_a_python_that_would_do_is_named(locking: Api, index: Index) -> None:
    make_wheel(index.folder, "delta")
    (index.folder / "delta-1.0-py3-none-any.whl").rename(index.folder / "delta-1.0-cp39-none-any.whl")
    refused = (await check(locking, "delta")).json()
    assert refused["code"] == "no-wheel"
    assert refused["hint"].startswith("It can be made for Python 3.9, which is there too")
    chosen = await locking.ask("POST", CHECK, json={"requirements": ["delta"], "python": "3.9"})
    assert chosen.json()["python"] == "3.9"


async def test_few_are_checked_at_once_and_nothing_else_waits(
    locking: Api, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "TURN_S_MAX", 0.1)
    index.open.clear()
    checks = [asyncio.create_task(check(locking, "alpha")) for _ in range(CHECKS_MAX)]
    await asked(index, CHECKS_MAX)
    turned_away = await check(locking, "beta")
    assert (turned_away.status_code, turned_away.json()["code"]) == (503, "unavailable")
    assert "2 environments are being checked" in turned_away.json()["detail"]
    assert (await locking.ask("GET", W)).status_code == 200
    index.open.set()
    assert {answer.status_code for answer in await asyncio.gather(*checks)} == {200}


async def test_a_check_that_takes_too_long_is_ended(
    locking: Api, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "CHECK_S_MAX", 1.0)
    index.open.clear()
    late = await check(locking, "alpha")
    assert (late.status_code, late.json()["code"]) == (503, "lock-timed-out")
    assert not locking.ctx.checking.locked()


async def test_who_goes_away_takes_the_check_along(locking: Api, index: Index, tmp_path: Path) -> None:
    index.open.clear()
    body = json.dumps({"requirements": ["alpha"]}).encode()
    said: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not said:
            await asked(index, 1)
            return {"type": "http.disconnect"}
        return said.pop()

    async def send(message: Any) -> None:
        """Nobody is there to read it."""

    headers = [(b"authorization", f"Bearer {locking.tokens['owner']}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": CHECK, "raw_path": CHECK.encode(),
        "query_string": b"", "headers": headers, "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        "root_path": "",
    }  # fmt: skip
    async with asyncio.timeout(30):
        await locking.app(scope, receive, send)
    assert not runs_with(str(tmp_path / "uv"))
    assert not locking.ctx.checking.locked()


def runs_with(word: str) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if word.encode() in Path("/proc", pid, "cmdline").read_bytes():
                return True
    return False


async def test_an_index_that_fails_for_one_environment_holds_up_no_other(locking: Api, index: Index) -> None:
    index.refusing["alpha"] = 500
    for name, line in (("a", "alpha"), ("b", "beta")):
        await locking.ask("PUT", f"{W}/{name}/versions/1", json={"requirements": [line]})
    loop = EnvironmentLoop(locking.ctx)
    with pytest.raises(Unavailable, match="does not answer"):
        await loop.tick()
    states = [(await locking.ask("GET", f"{W}/{name}/versions/1")).json()["status"] for name in "ab"]
    assert states == ["Resolving", "Succeeded"]
    del index.refusing["alpha"]
    await loop.tick()
    assert (await locking.ask("GET", f"{W}/a/versions/1")).json()["status"] == "Succeeded"


async def test_what_goes_wrong_with_one_environment_holds_up_no_other(
    locking: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(ctx: Context, spec: EnvironmentSpec, *, timeout_s: float) -> Lock:
        if "alpha" in (spec.requirements or ()):
            raise ValueError("a thing nobody thought of")
        return await environments.lock(ctx, spec, timeout_s=timeout_s)

    monkeypatch.setattr("ultramarine.controllers.environments.lock", wrong)
    for name, line in (("a", "alpha"), ("b", "beta")):
        await locking.ask("PUT", f"{W}/{name}/versions/1", json={"requirements": [line]})
    with pytest.raises(ValueError, match="nobody thought of"):
        await EnvironmentLoop(locking.ctx).tick()
    assert (await locking.ask("GET", f"{W}/b/versions/1")).json()["status"] == "Succeeded"


async def test_a_server_without_uv_says_so(api: Api) -> None:
    answer = await check(api, "alpha")
    assert (answer.status_code, answer.json()["hint"]) == (503, "pip install uv")

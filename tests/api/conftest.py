"""The real application over a real database, spoken to in process."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.factories import NOON, make_context, make_host

from ultramarine.api.app import build
from ultramarine.domain.environment import Environment, EnvironmentSpec, EnvironmentStatus, Locked
from ultramarine.domain.identity import EVERY_WORKSPACE, Role
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.services.identity import TokenSpec, WorkspaceSpec
from ultramarine.store import assets, hosts
from ultramarine.store.database import AsyncDatabase
from ultramarine.store.migration import migrate


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """`tokens`: by role, of workspace `w`; with `owner` for all and `other` for workspace `v`."""

    ctx: Context
    app: Any
    http: httpx.AsyncClient
    tokens: dict[str, str]

    async def ask(self, method: str, path: str, *, token: str = "owner", **more: Any) -> httpx.Response:
        """`token`: a name from `tokens`, or "" for none."""
        headers = {"authorization": f"Bearer {self.tokens[token]}"} if token else {}
        return await self.http.request(method, path, headers=headers | more.pop("headers", {}), **more)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    migrate(url)
    ctx = make_context(AsyncDatabase(url), tmp_path)
    async with ctx.begin() as tx:
        await hosts.put(tx, make_host())
        for name in ("w", "v"):
            await identity.found_workspace(tx, ctx, name, WorkspaceSpec(), now=NOON)
        await assets.add_environment(tx, _minimal())
    roles = {role.value: (role, "w") for role in Role} | {"owner": (Role.OWNER, EVERY_WORKSPACE)}
    roles |= {"other": (Role.OWNER, "v"), "owner_of_w": (Role.OWNER, "w")}
    tokens: dict[str, str] = {}
    for name, (role, workspace) in roles.items():
        _, tokens[name] = await identity.create_token(ctx, TokenSpec(subject=name, role=role, workspace=workspace))
    app = build(ctx)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Api(ctx=ctx, app=app, http=http, tokens=tokens)
    await ctx.tracking.close()
    await ctx.db.close()


@pytest.fixture
def job() -> Callable[..., dict[str, Any]]:
    def body(**different: Any) -> dict[str, Any]:
        return {"command": "echo hello", "environment": "minimal", "compute": "local"} | different

    return body


def _minimal() -> Environment:
    return Environment(
        workspace=assets.CURATED,
        name="minimal",
        version="1",
        spec=EnvironmentSpec(requirements=[]),
        locked=Locked(digest="d", lock="0" * 64, python="3.11", packages=0),
        is_curated=True,
        status=EnvironmentStatus.SUCCEEDED,
        created_at=NOON,
    )

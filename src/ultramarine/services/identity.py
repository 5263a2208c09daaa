"""Tokens and workspaces: who may ask what."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field

from ultramarine.domain.compute import LOCAL, Compute, LocalSpec
from ultramarine.domain.errors import Conflict, InvalidInput, NotFound, NotSignedIn
from ultramarine.domain.identity import EVERY_WORKSPACE, Right, Role, Token, check
from ultramarine.domain.names import ComputeId, JobId, RunKey, checked_name, is_of
from ultramarine.domain.page import Page, PageRequest
from ultramarine.domain.quota import Quota
from ultramarine.domain.run import OwnerNoun
from ultramarine.domain.spec import Spec
from ultramarine.services.context import Context
from ultramarine.services.secrets import new_token, parts, sha256_of
from ultramarine.store import computes, installation, runs
from ultramarine.store.database import Tx

RUN = "run"  #: the purpose of a run's own token
NOT_VALID, ENDS = "This run's token is not valid (any more).", "A run's token ends with the run."


class TokenSpec(Spec):
    """A token to be made."""

    subject: str
    workspace: str = EVERY_WORKSPACE
    role: Role = Role.DATA_SCIENTIST
    expires_in_s: int | None = None


class WorkspaceSpec(Spec):
    name: str | None = None
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict[str, str])
    quota: Quota | None = None


async def signed_in(ctx: Context, bearer: str) -> Token:
    """Whose token this is, or `NotSignedIn`."""
    if bearer.startswith(f"{RUN}:"):
        return await _run_token(ctx, bearer)
    async with ctx.read() as tx:
        token = await installation.find_token(tx, sha256_of(bearer)) if bearer else None
    if token is None:
        raise NotSignedIn(
            "There is no valid token with this request.",
            hint="Send Authorization: Bearer TOKEN; on this machine `um` finds it by itself.",
        )
    return _valid(ctx, token)


async def token_of(ctx: Context, id: str) -> Token:
    """What a session rests on, by its id, or `NotSignedIn`: for who has shown the token itself before."""
    async with ctx.read() as tx:
        token = await installation.token_by_id(tx, id)
    return await _of_run(ctx, id) if token is None else _valid(ctx, token)


def _valid(ctx: Context, token: Token) -> Token:
    if not token.is_valid(ctx.clock()):
        state = "was revoked" if token.revoked_at else f"has expired at {token.expires_at:%Y-%m-%d %H:%M} UTC"
        raise NotSignedIn(
            f"The token of {token.subject!r} {state}.", hint="Ask an owner for a new one: um token create"
        )
    return token


async def _run_token(ctx: Context, bearer: str) -> Token:
    """A run's own token: good for its workspace while it has not ended. It is derived, and so never stored."""
    _, key, secret = parts(bearer, 3)
    if not ctx.secrets.matches(secret, RUN, key):
        raise NotSignedIn(NOT_VALID, hint=ENDS)
    return await _of_run(ctx, key)


async def _of_run(ctx: Context, key: str) -> Token:
    refused = NotSignedIn(NOT_VALID, hint=ENDS)
    if not is_of(key, ctx.site.epoch):
        raise refused
    async with ctx.read() as tx:
        try:
            run = await runs.get(tx, key)
        except NotFound:
            raise refused from None
    if run.is_final:
        raise refused
    return Token(
        id=run.key,
        subject=run.user if run.owner_noun is OwnerNoun.INSTANCE else f"job {run.owner_name}",
        workspace=run.workspace,
        role=Role.DATA_SCIENTIST,
        job=JobId(run.owner_id) if run.owner_noun is OwnerNoun.JOB else None,
        instance=ComputeId(run.owner_id) if run.owner_noun is OwnerNoun.INSTANCE else None,
        created_at=run.created_at,
    )


def run_token(ctx: Context, key: RunKey) -> str:
    return ctx.secrets.token(RUN, key)


async def authorize(ctx: Context, bearer: str, right: Right, workspace: str) -> Token:
    token = await signed_in(ctx, bearer)
    check(token, right, workspace)
    return token


async def create_token(ctx: Context, spec: TokenSpec) -> tuple[Token, str]:
    """Make a token. It is shown now and never again."""
    checked_name("token's subject", spec.subject)
    if spec.expires_in_s is not None and spec.expires_in_s <= 0:
        raise InvalidInput(
            f"expires_in_s: {spec.expires_in_s} is not in the future.",
            hint="Give seconds from now, e.g. 86400 for a day.",
        )
    secret, now = new_token(), ctx.clock()
    expires = None if spec.expires_in_s is None else now + timedelta(seconds=spec.expires_in_s)
    token = Token(
        id=ctx.names()[:12],
        subject=spec.subject,
        workspace=spec.workspace,
        role=spec.role,
        created_at=now,
        expires_at=expires,
    )
    async with ctx.begin() as tx:
        if spec.workspace != EVERY_WORKSPACE:
            await require_workspace(tx, spec.workspace)
        await installation.add_token(tx, token, sha256=sha256_of(secret))
    return token, secret


async def tokens(ctx: Context, request: PageRequest) -> Page[Token]:
    async with ctx.read() as tx:
        return await installation.tokens(tx, request)


async def revoke_token(ctx: Context, id: str) -> None:
    async with ctx.begin() as tx:
        await installation.revoke_token(tx, id, now=ctx.clock())


async def put_workspace(ctx: Context, name: str, spec: WorkspaceSpec) -> bool:
    """Make a workspace with its `local` compute, or change what is given of one that is there: then False."""
    checked_name("workspace", name)
    async with ctx.begin() as tx:
        if is_new := await installation.workspace(tx, name) is None:
            await found_workspace(tx, ctx, name, spec, now=ctx.clock())
        else:
            await _change(tx, name, spec)
    ctx.ring()
    return is_new


async def update_workspace(ctx: Context, name: str, spec: WorkspaceSpec) -> Mapping[str, Any]:
    """Change what is given of it."""
    async with ctx.begin() as tx:
        await _change(tx, name, spec)
    ctx.ring()
    return await workspace(ctx, name)


async def _change(tx: Tx, name: str, spec: WorkspaceSpec) -> None:
    await require_workspace(tx, name)
    given = {field: getattr(spec, field) for field in spec.model_fields_set if field != "name"}
    await installation.change_workspace(tx, name, given)


async def found_workspace(tx: Tx, ctx: Context, name: str, spec: WorkspaceSpec, *, now: datetime) -> None:
    await installation.add_workspace(tx, name, description=spec.description, tags=spec.tags, quota=spec.quota, now=now)
    local = Compute(
        id=ComputeId(f"c{ctx.names()[:10]}"),
        workspace=name,
        name=LOCAL,
        spec=LocalSpec(),
        host=ctx.site.machine.name,
        size=ctx.site.machine.total,
        size_name="machine",
        created_at=now,
        changed_at=now,
    )
    await computes.add(tx, local)


async def workspaces(ctx: Context, token: Token, request: PageRequest) -> Page[Mapping[str, Any]]:
    """Those that the token is good for."""
    only = None if token.workspace == EVERY_WORKSPACE else token.workspace
    async with ctx.read() as tx:
        return await installation.workspace_page(tx, request, only=only)


async def workspace_names(ctx: Context) -> list[str]:
    async with ctx.read() as tx:
        return [row["name"] for row in await installation.workspaces(tx)]


async def workspace(ctx: Context, name: str) -> Mapping[str, Any]:
    """Also one that is being deleted."""
    async with ctx.read() as tx:
        return await _known_workspace(tx, name)


async def is_usable(ctx: Context, workspace: str) -> bool:
    """Whether it is there and not being deleted."""
    async with ctx.read() as tx:
        found = await installation.workspace(tx, workspace)
    return found is not None and bool(found["is_usable"])


async def require_workspace(tx: Tx, name: str) -> None:
    """Raises `NotFound`, and `Conflict` for one that is being deleted."""
    if not (await _known_workspace(tx, name))["is_usable"]:
        raise Conflict(
            f"Workspace {name} is being deleted.", hint=f"Wait until um workspace show {name} says that it is gone."
        )


async def _known_workspace(tx: Tx, name: str) -> Mapping[str, Any]:
    if (found := await installation.workspace(tx, name)) is None:
        raise NotFound("workspace", name, known=[w["name"] for w in await installation.workspaces(tx)])
    return found

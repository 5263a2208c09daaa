"""Workspaces, tokens, events, and the state of the whole."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from ultramarine import __version__
from ultramarine.api import created, sse, views
from ultramarine.api.access import Ctx, Owner, Reader, SignedIn
from ultramarine.api.paging import Paging
from ultramarine.api.reached import ReachedAt
from ultramarine.services import identity, leftovers, sessions, status, streams, workspaces
from ultramarine.services.identity import TokenSpec, WorkspaceSpec

router = APIRouter(prefix="/api/v1", tags=["installation"])
SEQ_MAX = 2**63 - 1


@router.put("/workspaces/{workspace}", status_code=201)
async def put_workspace(workspace: str, body: WorkspaceSpec, ctx: Ctx, _: Owner, response: Response) -> views.View:
    """Create a workspace (201), or change what is given of the one that is there (200)."""
    is_new = await identity.put_workspace(ctx, workspace, body)
    created.answer(response, is_new=is_new)
    return views.workspace(await identity.workspace(ctx, workspace))


@router.get("/workspaces")
async def list_workspaces(ctx: Ctx, token: SignedIn, paging: Paging) -> views.View:
    """Those that the token is good for."""
    return views.listed((await identity.workspaces(ctx, token, paging)).map(views.workspace))


@router.get("/workspaces/{workspace}")
async def get_workspace(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    return views.workspace(await identity.workspace(ctx, workspace))


@router.patch("/workspaces/{workspace}")
async def update_workspace(workspace: str, body: WorkspaceSpec, ctx: Ctx, _: Owner) -> views.View:
    """Change `description`, `tags` or `quota` (null: none)."""
    return views.workspace(await identity.update_workspace(ctx, workspace, body))


@router.delete("/workspaces/{workspace}", status_code=202)
async def delete_workspace(workspace: str, ctx: Ctx, _: Owner) -> views.View:
    """Ask for its end; refused while anything lives in it. It is gone when it is not found any more."""
    return views.workspace(await workspaces.delete(ctx, workspace))


@router.post("/tokens", status_code=201)
async def create_token(body: TokenSpec, ctx: Ctx, _: Owner) -> views.View:
    """Make a token. It is in this answer, and never shown again."""
    token, secret = await identity.create_token(ctx, body)
    return views.token(token) | {"token": secret}


@router.get("/tokens")
async def list_tokens(ctx: Ctx, _: Owner, paging: Paging) -> views.View:
    return views.listed((await identity.tokens(ctx, paging)).map(views.token))


@router.delete("/tokens/{id}", status_code=204)
async def revoke_token(id: str, ctx: Ctx, _: Owner) -> None:
    await identity.revoke_token(ctx, id)


@router.get("/workspaces/{workspace}/events")
async def list_events(
    workspace: str, ctx: Ctx, _: Reader, paging: Paging, noun: str = "", name: str = ""
) -> views.View:
    """What has happened, the oldest first; the cursor is the number of an event."""
    return views.listed((await streams.happenings(ctx, workspace, paging, noun=noun, name=name)).map(views.happening))


@router.get("/workspaces/{workspace}/events/stream")
async def stream_events(
    workspace: str,
    ctx: Ctx,
    _: Reader,
    noun: str = "",
    after: Annotated[int, Query(ge=0, le=SEQ_MAX)] = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Server-sent events: every move, as it happens."""
    begin = last_event_id if last_event_id and last_event_id.isdecimal() else str(after)
    return sse.answer(streams.of_events(ctx, workspace, after=begin, noun=noun))


class Opening(BaseModel):
    path: str = "/mlflow/"
    workspace: str | None = None


@router.post("/login-codes", status_code=201)
async def create_login_code(body: Opening, ctx: Ctx, token: SignedIn, reached: ReachedAt) -> views.View:
    """A link, good once and for a minute, that signs a browser in to the second origin."""
    code = await sessions.make_code(ctx, token, body.path, workspace=body.workspace)
    return {"url": f"{reached.second_address}/login?code={code}"}


@router.get("/status")
async def get_status(ctx: Ctx, _: Owner) -> views.View:
    """What runs, over all workspaces."""
    return {"version": __version__, "epoch": ctx.site.epoch} | views.status(await status.status(ctx))


@router.get("/leftovers")
async def list_leftovers(ctx: Ctx, _: Owner, paging: Paging) -> views.View:
    """Machines that no row knows, and rows whose machines no driver knows. Empty: nothing was left anywhere."""
    return views.listed((await leftovers.page(ctx, paging)).map(views.leftover))


@router.post("/drain", status_code=202)
async def drain(ctx: Ctx, _: Owner) -> views.View:
    """Ask everything to end and take no new work: what is left. Ask again until nothing is."""
    return views.status(await status.drain(ctx))

"""What deployments have collected of requests and answers."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from ultramarine.api import views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.paging import Paging
from ultramarine.domain.page import cut
from ultramarine.files.collected import CollectedOf
from ultramarine.services import collected

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/online-endpoints", tags=["online endpoints"])
PIECE_BYTES_MAX = 8 * 1024**2


async def _of(workspace: str, endpoint: str, name: str) -> CollectedOf:
    return CollectedOf(workspace=workspace, endpoint=endpoint, deployment=name)


Of = Annotated[CollectedOf, Depends(_of)]


@router.get("/{endpoint}/deployments/{name}/collected")
async def list_collected(of: Of, ctx: Ctx, _: Reader, paging: Paging, collection: str = "") -> views.View:
    """The files of what it has collected, of one collection or all, by name and time."""
    found = await collected.files(ctx, of, collection=collection)
    return views.listed(cut(found, paging, key=lambda file: file.path).map(views.collected))


@router.get("/{endpoint}/deployments/{name}/collected/{path:path}")
async def read_collected(of: Of, path: str, ctx: Ctx, _: Reader, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
    """The bytes of a file from `offset` on, at most 8 MiB; none where there are none (yet)."""
    content = ctx.collected.read(of, path, offset=offset, bytes_max=PIECE_BYTES_MAX)
    return Response(content, media_type="application/octet-stream")


@router.delete("/{endpoint}/deployments/{name}/collected")
async def remove_collected(
    of: Of, ctx: Ctx, _: Worker, collection: str = "", before: datetime | None = None
) -> views.View:
    """Delete what it has collected before a time; while it is there, that time is past."""
    moment = before if before is None or before.tzinfo else before.replace(tzinfo=UTC)
    gone = await collected.remove(ctx, of, collection=collection, before=moment)
    return {"files": len(gone), "bytes": sum(file.size for file in gone)}

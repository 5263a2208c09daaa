"""Uploads and downloads: blobs and snapshots."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.body import limited
from ultramarine.services import snapshots

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["files"])


@router.put("/snapshots/{sha256}")
async def put_snapshot(
    workspace: str, sha256: str, request: Request, ctx: Ctx, _: Worker, response: Response
) -> views.View:
    """Keep a manifest (200), or say which of its blobs are missing (202): upload those and send it again."""
    content = await limited(request, ctx.site.limits.manifest_bytes_max)
    missing = snapshots.put_snapshot(ctx, sha256, content)
    response.status_code = 202 if missing else 200
    return {"missing": missing}


@router.get("/snapshots/{sha256}")
async def get_snapshot(workspace: str, sha256: str, ctx: Ctx, _: Reader) -> views.View:
    return snapshots.get_snapshot(ctx, sha256).model_dump()


@router.put("/blobs/{sha256}", status_code=201)
async def put_blob(workspace: str, sha256: str, request: Request, ctx: Ctx, _: Worker, response: Response) -> None:
    """Keep the bytes whose SHA-256 this is: 201, or 200 when they are there."""
    is_new = await snapshots.put_blob(ctx, sha256, request.stream())
    created.answer(response, is_new=is_new)


@router.get("/blobs/{sha256}")
async def get_blob(workspace: str, sha256: str, ctx: Ctx, _: Reader) -> FileResponse:
    return FileResponse(ctx.blobs.path(sha256), media_type="application/octet-stream")

"""The runner's protocol (docs/reference/runner-protocol.md)."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from ultramarine.api.access import Ctx, OfNode
from ultramarine.api.body import limited
from ultramarine.domain.errors import NotFound
from ultramarine.domain.names import RunKey
from ultramarine.files.logs import LogPlace
from ultramarine.services import collected, nodes, snapshots

router = APIRouter(prefix="/runner/v1", tags=["runner"])
LOG_BYTES_MAX = 16 * 1024**2


@router.post("/hello")
async def hello(said: nodes.Hello, ctx: Ctx) -> dict[str, Any]:
    welcome = await nodes.hello(ctx, said)
    return {"node_token": welcome.node_token, "lease_s": welcome.lease_s, "beat_s": welcome.beat_s}


@router.get("/desired", response_model=None)
async def desired(ctx: Ctx, node: OfNode, etag: str = "", wait: float = 0) -> Response | dict[str, Any]:
    found = await nodes.desired(ctx, node, etag=etag, wait_s=wait)
    return Response(status_code=304) if found is None else {"etag": found.etag, "runs": found.runs}


@router.put("/reported")
async def reported(said: nodes.Report, ctx: Ctx, node: OfNode) -> dict[str, Any]:
    return dict(nodes.report(ctx, node, said))


@router.put("/logs/{run}/{rank}/{file}")
async def append_log(
    run: str, rank: str, file: str, offset: int, request: Request, ctx: Ctx, node: OfNode
) -> dict[str, int]:
    place = LogPlace(run=RunKey(run), rank=rank, file=file)
    content = await limited(request, LOG_BYTES_MAX)
    return {"size": await nodes.append_log(ctx, node, place, content, offset=offset)}


@router.put("/collected/{run}/{path:path}")
async def append_collected(
    run: str, path: str, offset: int, request: Request, ctx: Ctx, node: OfNode
) -> dict[str, int]:
    content = await limited(request, LOG_BYTES_MAX)
    return {"size": await collected.append(ctx, node, RunKey(run), path, content=content, offset=offset)}


@router.get("/files/{sha256}")
async def get_file(sha256: str, ctx: Ctx, _: OfNode) -> FileResponse:
    return FileResponse(ctx.blobs.path(sha256), media_type="application/octet-stream")


@router.head("/files/{sha256}")
async def has_file(sha256: str, ctx: Ctx, _: OfNode) -> Response:
    return Response(headers={"Content-Length": str(ctx.blobs.path(sha256).stat().st_size)})


@router.put("/files/{sha256}")
async def put_file(sha256: str, request: Request, ctx: Ctx, _: OfNode) -> None:
    await snapshots.put_blob(ctx, sha256, request.stream())


@router.get("/tools/uv/{platform}")
async def get_uv(platform: str, ctx: Ctx, _: OfNode) -> FileResponse:
    """The uv program for a node that has none."""
    if platform != ctx.site.platform or not ctx.site.uv:
        raise NotFound("uv program for the platform", platform, hint="Install uv on the node: pip install uv")
    return FileResponse(Path(ctx.site.uv), media_type="application/octet-stream")

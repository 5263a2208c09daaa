"""Models."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import StreamingResponse

from ultramarine.api import views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.services import models

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/models", tags=["models"])
ModelBody = Annotated[dict[str, Any], Body()]


def _version(version: str) -> str | None:
    return None if version == "latest" else version


@router.post("/{name}/versions", status_code=201)
async def create_model(workspace: str, name: str, body: ModelBody, ctx: Ctx, _: Worker) -> views.View:
    """Register a version: from an uploaded snapshot, from a job's output, from what a job logged."""
    return views.model(await models.create(ctx, workspace, name, body))


@router.get("")
async def list_models(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    """The newest version of each."""
    return views.listed([views.model(each) for each in await models.newest(ctx, workspace)])


@router.get("/{name}/versions")
async def list_model_versions(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.listed([views.model(each) for each in await models.versions(ctx, workspace, name)])


@router.get("/{name}/versions/{version}")
async def get_model(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    return views.model(await models.get(ctx, workspace, name, _version(version)))


@router.get("/{name}/versions/{version}/files")
async def list_model_files(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    model = await models.get(ctx, workspace, name, _version(version))
    return {
        "files": [{"path": file.path, "size": file.size_bytes} for file in await models.files(ctx, workspace, model)]
    }


@router.get("/{name}/versions/{version}/files/{path:path}")
async def read_model_file(workspace: str, name: str, version: str, path: str, ctx: Ctx, _: Reader) -> StreamingResponse:
    model = await models.get(ctx, workspace, name, _version(version))
    content = await models.read_file(ctx, workspace, model, path)
    return StreamingResponse(content, media_type="application/octet-stream")

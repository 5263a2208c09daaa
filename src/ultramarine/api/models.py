"""Files of models."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from ultramarine.api import views
from ultramarine.api.access import Ctx, Reader
from ultramarine.services import models

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/models", tags=["models"])


@router.get("/{name}/versions/{version}/files")
async def list_model_files(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    model = await models.get(ctx, workspace, name, None if version == "latest" else version)
    return {
        "files": [{"path": file.path, "size": file.size_bytes} for file in await models.files(ctx, workspace, model)]
    }


@router.get("/{name}/versions/{version}/files/{path:path}")
async def read_model_file(workspace: str, name: str, version: str, path: str, ctx: Ctx, _: Reader) -> StreamingResponse:
    model = await models.get(ctx, workspace, name, None if version == "latest" else version)
    content = await models.read_file(ctx, workspace, model, path)
    return StreamingResponse(content, media_type="application/octet-stream")

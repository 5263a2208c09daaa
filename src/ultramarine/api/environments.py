"""What environments have beside the routes of every asset: their packages, and a check before they are made."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from ultramarine.api import views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.attended import attended
from ultramarine.services import environments

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["environments"])


@router.get("/environments/{name}/versions/{version}/lock")
async def get_lock(workspace: str, name: str, version: str, ctx: Ctx, _: Reader) -> views.View:
    """Its exact packages, and the lock with hashes as pip takes it; `latest` is the newest."""
    return views.lock(await environments.packages(ctx, workspace, name, None if version == "latest" else version))


@router.post("/environment-check")
async def check_environment(
    workspace: str, body: Annotated[dict[str, Any], Body()], request: Request, ctx: Ctx, _: Worker
) -> views.View:
    """Whether the environment of this body could be made, and what would be in it. Nothing is kept."""
    return views.lock(await attended(request, environments.check(ctx, workspace, body)))

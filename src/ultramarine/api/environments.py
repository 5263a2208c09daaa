"""What environments have beside the routes of every asset: their packages, and a check before they are made."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from ultramarine.api import views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.attended import attended
from ultramarine.domain.environment import Accelerator
from ultramarine.services import environments

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["environments"])


@router.get("/environments/{name}/versions/{version}/lock")
async def get_lock(
    workspace: str, name: str, version: str, ctx: Ctx, _: Reader, accelerator: Accelerator = Accelerator.CPU
) -> views.View:
    """Its exact packages, and the lock with hashes as pip takes it; `latest` is the newest.

    `accelerators` are those that it has a lock of its own for. For another one the CPU's is given, which does anywhere.
    """
    number = None if version == "latest" else version
    return views.lock(await environments.packages(ctx, workspace, name, number, accelerator=accelerator))


@router.post("/environment-check")
async def check_environment(
    workspace: str, body: Annotated[dict[str, Any], Body()], request: Request, ctx: Ctx, _: Worker
) -> views.View:
    """Whether the environment of this body could be made, and what would be in it. Nothing is kept."""
    return views.lock(await attended(request, environments.check(ctx, workspace, body)))

"""Rollouts of online endpoints, and the way back."""

from typing import Annotated, Any

from fastapi import APIRouter, Body

from ultramarine.api import endpoint_views, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.reached import ReachedAt
from ultramarine.services import endpoints, rollouts

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/online-endpoints/{endpoint}", tags=["online endpoints"])


@router.post("/deployments/{name}/rollout", status_code=201)
async def begin_rollout(
    workspace: str, endpoint: str, name: str, body: Annotated[dict[str, Any], Body()], ctx: Ctx, _: Worker
) -> views.View:
    """Begin to move the endpoint's traffic to a deployment, step by step; bad figures return it."""
    return endpoint_views.rollout(await rollouts.begin(ctx, workspace, endpoint, name, body=body))


@router.get("/rollout")
async def get_rollout(workspace: str, endpoint: str, ctx: Ctx, _: Reader) -> views.View:
    """The endpoint's last rollout."""
    return endpoint_views.rollout(await rollouts.newest(ctx, workspace, endpoint))


@router.post("/rollback")
async def roll_back(workspace: str, endpoint: str, ctx: Ctx, _: Worker, reached: ReachedAt) -> views.View:
    """The traffic as it was: before the rollout that goes on, else before its last change."""
    state = await rollouts.roll_back(ctx, workspace, endpoint)
    await endpoints.in_effect(ctx)
    return endpoint_views.endpoint(state, reached.address)

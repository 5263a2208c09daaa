"""Compute targets."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Operator, Reader
from ultramarine.api.paging import Paging
from ultramarine.services import computes, explanations

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["computes"])
ComputeBody = Annotated[dict[str, Any], Body()]


@router.put("/computes/{name}", status_code=201)
async def put_compute(
    workspace: str, name: str, body: ComputeBody, ctx: Ctx, _: Operator, response: Response
) -> views.View:
    """Create a cluster (201), or change the one that is there (200)."""
    state, is_new = await computes.put(ctx, workspace, name, body)
    created.answer(response, is_new=is_new)
    return views.compute(state)


@router.patch("/computes/{name}")
async def update_compute(workspace: str, name: str, body: ComputeBody, ctx: Ctx, _: Operator) -> views.View:
    return views.compute(await computes.update(ctx, workspace, name, body))


@router.get("/computes")
async def list_computes(workspace: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    return views.listed((await computes.page(ctx, workspace, paging)).map(views.compute))


@router.get("/computes/{name}")
async def get_compute(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.compute(await computes.get(ctx, workspace, name))


@router.delete("/computes/{name}", status_code=202)
async def delete_compute(workspace: str, name: str, ctx: Ctx, _: Operator) -> views.View:
    """Ask for its end: its jobs are canceled, its nodes released. It is gone when it is not found any more."""
    return views.compute(await computes.delete(ctx, workspace, name))


@router.get("/computes/{name}/explain")
async def explain_compute(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """Why each of its nodes is kept, made or removed, and who waits first."""
    return views.compute_explanation(name, await explanations.of_nodes(ctx, workspace, name))


@router.get("/computes/{name}/nodes")
async def list_nodes(workspace: str, name: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    return views.listed((await computes.nodes(ctx, workspace, name, request=paging)).map(views.node))


@router.get("/compute-sizes")
async def list_sizes(workspace: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    """The catalogue, with whether this machine has room for each size."""
    return views.listed(computes.sizes(ctx, paging).map(views.size))


@router.get("/compute-usage")
async def list_usage(workspace: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    """Of each host, what is promised and what it has."""
    return views.listed((await computes.usage(ctx, paging)).map(views.usage))

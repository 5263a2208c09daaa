"""Compute targets."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Operator, Reader
from ultramarine.services import computes

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
async def list_computes(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    return views.listed([views.compute(state) for state in await computes.every(ctx, workspace)])


@router.get("/computes/{name}")
async def get_compute(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.compute(await computes.get(ctx, workspace, name))


@router.delete("/computes/{name}", status_code=202)
async def delete_compute(workspace: str, name: str, ctx: Ctx, _: Operator) -> views.View:
    """Ask for its end: its jobs are canceled, its nodes released. It is gone when it is not found any more."""
    return views.compute(await computes.delete(ctx, workspace, name))


@router.get("/computes/{name}/nodes")
async def list_nodes(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    state = await computes.get(ctx, workspace, name)
    return views.listed([views.node(state, a, dict(ctx.hub.load(a.node))) for a in state.allocations])


@router.get("/compute-sizes")
async def list_sizes(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    """The catalogue, with whether this machine has room for each size."""
    machine, sizes = ctx.site.machine.total, ctx.site.sizes
    aliases = {name: [alias for alias, meant in sizes.aliases.items() if meant == name] for name in sizes.native}
    return views.listed(
        [
            {
                "name": n,
                "cpus": a.cpus_milli / 1000,
                "memory_bytes": a.memory_bytes,
                "gpus": a.gpus,
                "fits": a.fits_in(machine),
                "aliases": aliases[n],
            }
            for n, a in sizes.native.items()
        ]
    )


@router.get("/compute-usage")
async def list_usage(workspace: str, ctx: Ctx, _: Reader) -> views.View:
    """Of each host, what is promised and what it has."""
    rows: list[views.View] = []
    for usage in await computes.usage(ctx):
        for unit, taken, total in (
            ("cpus", usage.taken.cpus_milli / 1000, usage.total.cpus_milli / 1000),
            ("memory_bytes", usage.taken.memory_bytes, usage.total.memory_bytes),
            ("gpus", usage.taken.gpus, usage.total.gpus),
        ):
            rows.append({"host": usage.host, "name": unit, "current_value": taken, "limit": total})
    return views.listed(rows)

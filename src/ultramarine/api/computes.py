"""Compute targets."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from ultramarine.api import created, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.paging import Paging
from ultramarine.api.reached import ReachedAt
from ultramarine.domain.instance import InstanceEvent
from ultramarine.services import computes, entering, explanations, instances

router = APIRouter(prefix="/api/v1/workspaces/{workspace}", tags=["computes"])
ComputeBody = Annotated[dict[str, Any], Body()]


@router.put("/computes/{name}", status_code=201)
async def put_compute(
    workspace: str, name: str, body: ComputeBody, ctx: Ctx, token: Worker, response: Response
) -> views.View:
    """Create a cluster or an instance (201), or change what is there (200).

    A cluster needs the right to operate compute; an instance of one's own does not.
    """
    state, is_new = await computes.put(ctx, workspace, name, body, token=token)
    created.answer(response, is_new=is_new)
    return views.compute(state)


@router.patch("/computes/{name}")
async def update_compute(workspace: str, name: str, body: ComputeBody, ctx: Ctx, token: Worker) -> views.View:
    return views.compute(await computes.update(ctx, workspace, name, body, token=token))


@router.get("/computes")
async def list_computes(workspace: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    return views.listed((await computes.page(ctx, workspace, paging)).map(views.compute))


@router.get("/computes/{name}")
async def get_compute(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    return views.compute(await computes.get(ctx, workspace, name))


@router.delete("/computes/{name}", status_code=202)
async def delete_compute(workspace: str, name: str, ctx: Ctx, token: Worker) -> views.View:
    """Ask for its end: its jobs are canceled, its nodes released. It is gone when it is not found any more."""
    return views.compute(await computes.delete(ctx, workspace, name, token=token))


@router.post("/computes/{name}/start", status_code=202)
async def start_compute(workspace: str, name: str, ctx: Ctx, token: Worker) -> views.View:
    """Start an instance; one that is up stays as it is."""
    await instances.ask(ctx, workspace, name, InstanceEvent.START_ASKED, token=token)
    return views.compute(await computes.get(ctx, workspace, name))


@router.post("/computes/{name}/stop", status_code=202)
async def stop_compute(workspace: str, name: str, ctx: Ctx, token: Worker) -> views.View:
    """Stop an instance: its kernels and terminals end, its home folder stays."""
    await instances.ask(ctx, workspace, name, InstanceEvent.STOP_ASKED, token=token)
    return views.compute(await computes.get(ctx, workspace, name))


@router.post("/computes/{name}/restart", status_code=202)
async def restart_compute(workspace: str, name: str, ctx: Ctx, token: Worker) -> views.View:
    """Stop an instance that runs, and start it again."""
    await instances.ask(ctx, workspace, name, InstanceEvent.RESTART_ASKED, token=token)
    return views.compute(await computes.get(ctx, workspace, name))


@router.post("/computes/{name}/connect", status_code=201)
async def connect_compute(
    workspace: str, name: str, ctx: Ctx, token: Worker, reached: ReachedAt, application: str | None = None
) -> views.View:
    """A link, good once and for a minute, that signs its owner's browser in to an instance.

    It leads to JupyterLab, or to one of its custom applications.
    """
    code = await entering.make_code(ctx, token, workspace, name, application=application)
    return {"url": f"{reached.instances_address}/login?code={code}"}


@router.post("/computes/{name}/resize", status_code=202)
async def resize_compute(workspace: str, name: str, body: ComputeBody, ctx: Ctx, token: Worker) -> views.View:
    """Give an instance a machine of another size. One that is up ends and comes back; its home folder stays."""
    await instances.resize(ctx, workspace, name, body, token=token)
    return views.compute(await computes.get(ctx, workspace, name))


@router.post("/computes/{name}/keep-awake")
async def keep_awake(workspace: str, name: str, body: ComputeBody, ctx: Ctx, token: Worker) -> views.View:
    """Let an instance not stop for want of use before so many `hours` from now; 0 takes that back."""
    await instances.keep_awake(ctx, workspace, name, body, token=token)
    return views.compute(await computes.get(ctx, workspace, name))


@router.get("/computes/{name}/explain")
async def explain_compute(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """Why each of its nodes is kept, made or removed, and who waits first; of an instance, what keeps it up."""
    found = await explanations.of_nodes(ctx, workspace, name)
    return views.compute_explanation(name, found, await instances.explain(ctx, workspace, name))


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

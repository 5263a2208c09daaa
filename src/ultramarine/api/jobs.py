"""Jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import StreamingResponse

from ultramarine.api import created, sse, views
from ultramarine.api.access import Ctx, Reader, Worker
from ultramarine.api.paging import Paging
from ultramarine.domain.page import cut
from ultramarine.files.logs import LogPlace
from ultramarine.services import explanations, jobs, streams

router = APIRouter(prefix="/api/v1/workspaces/{workspace}/jobs", tags=["jobs"])
JobBody = Annotated[dict[str, Any], Body()]
LOG_BYTES_MAX = 8 * 1024**2


@router.put("/{name}", status_code=201)
async def create_job(
    workspace: str, name: str, body: JobBody, ctx: Ctx, token: Worker, response: Response
) -> views.View:
    """Create a job. The same body again answers 200 with the job that is there; another one is 409.

    `notice` is what its user should know: that another environment stands for the one it names.
    """
    state, is_new = await jobs.create(ctx, workspace, name, body, user=token.subject)
    created.answer(response, is_new=is_new)
    return views.job(state.job, state.run) | {"notice": state.notice}


@router.get("")
async def list_jobs(
    workspace: str,
    ctx: Ctx,
    _: Reader,
    paging: Paging,
    status: str = "",
    experiment_name: str = "",
) -> views.View:
    """The newest first."""
    found = await jobs.page(ctx, workspace, paging, status=status, experiment=experiment_name)
    return views.listed(found.map(views.job_row))


@router.get("/{name}")
async def get_job(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """A job; `usage` is what its ranks use now or used at last, and their peaks, as far as it was heard."""
    state = await jobs.get(ctx, workspace, name)
    return views.job(state.job, state.run) | {"usage": ctx.usage.of(state.run.key)}


@router.post("/{name}/cancel", status_code=202)
async def cancel_job(workspace: str, name: str, ctx: Ctx, _: Worker) -> views.View:
    """Ask a job to stop. Its status is `CancelRequested` until its run has ended."""
    state = await jobs.cancel(ctx, workspace, name)
    return views.job(state.job, state.run)


@router.get("/{name}/explain")
async def explain_job(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """Why it waits, where in the queue and what would let it start; or why it failed, with the end of its log."""
    return views.explanation(await explanations.of_job(ctx, workspace, name))


@router.get("/{name}/timeline")
async def list_job_phases(workspace: str, name: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    """How long each attempt was in each status."""
    found = await explanations.timeline(ctx, workspace, name)
    page = cut(found, paging, key=lambda each: f"{each.attempt}/{each.began_at.isoformat()}")
    return views.listed(page.map(views.phase))


@router.get("/{name}/events")
async def list_job_events(workspace: str, name: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    """What has happened to it, the oldest first."""
    return views.listed((await jobs.history(ctx, workspace, name, request=paging)).map(views.happening))


@router.get("/{name}/stream")
async def stream_job(
    workspace: str, name: str, ctx: Ctx, _: Reader, last_event_id: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Server-sent events: `status`, `log`, at last `end`. Send Last-Event-ID to go on where it broke off."""
    await jobs.get(ctx, workspace, name)
    return sse.answer(streams.of_job(ctx, workspace, name, last_id=last_event_id))


@router.get("/{name}/logs")
async def list_job_logs(workspace: str, name: str, ctx: Ctx, _: Reader, paging: Paging) -> views.View:
    return views.listed((await jobs.log_files(ctx, workspace, name, request=paging)).map(views.log))


@router.get("/{name}/logs/{attempt}/{rank}/{file}")
async def read_job_log(
    workspace: str,
    name: str,
    attempt: int,
    rank: str,
    file: str,
    ctx: Ctx,
    _: Reader,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """The bytes of a log from `offset` on, at most 8 MiB; none where there are none (yet)."""
    run = await jobs.attempt(ctx, workspace, name, number=attempt)
    place = LogPlace(run=run.key, rank=rank, file=file)
    content = ctx.logs.read(place, offset=offset, bytes_max=LOG_BYTES_MAX)
    return Response(content, media_type="application/octet-stream")


@router.get("/{name}/outputs")
async def list_job_outputs(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """By name, the snapshots of what the job has written."""
    state = await jobs.get(ctx, workspace, name)
    kinds = {n: output.type for n, output in state.job.spec.outputs.items()}
    outputs = state.run.ending.outputs if state.run.ending else {}
    return {n: {"snapshot": sha256, "kind": kinds.get(n, "uri_folder")} for n, sha256 in outputs.items()}


@router.get("/{name}/checkpoint")
async def get_job_checkpoint(workspace: str, name: str, ctx: Ctx, _: Reader) -> views.View:
    """The snapshot of what the job has kept last in its checkpoint folder; 404 when that is nothing."""
    return {"snapshot": await jobs.checkpoint(ctx, workspace, name), "kind": "uri_folder"}

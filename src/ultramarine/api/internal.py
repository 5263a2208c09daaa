"""What the other parts of this installation ask: the gateway whether a token is good, MLflow whose run an id is."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from ultramarine.api.access import Ctx, Inside
from ultramarine.services import endpoint_tokens, endpoints, entering, identity, sessions
from ultramarine.services.tracking import Question, access, run_row

router = APIRouter(prefix="/internal", include_in_schema=False)
CACHE_S = 5


@router.post("/authorize")
async def authorize(question: Question, ctx: Ctx) -> dict[str, Any]:
    """Whose token it is, for which workspace it acts now, for which it might, and whose run's own it is."""
    if question.purpose == endpoint_tokens.PURPOSE:
        return await _of_endpoint(question, ctx)
    if question.purpose in entering.PURPOSES:
        return await _of_instance(question, ctx)
    allowed = await access(ctx, question)
    return {**asdict(allowed), "cache_s": CACHE_S}


async def _of_endpoint(question: Question, ctx: Ctx) -> dict[str, Any]:
    workspace, name = question.workspace or "", question.endpoint or ""
    until = await endpoint_tokens.check(ctx, question.token, workspace=workspace, endpoint=name)
    left_s = (until - ctx.clock()).total_seconds()
    return {"workspace": workspace, "subject": f"endpoint {name}", "cache_s": min(CACHE_S, left_s)}


async def _of_instance(question: Question, ctx: Ctx) -> dict[str, Any]:
    workspace, name = question.workspace or "", question.instance or ""
    entered = await entering.access(ctx, question.token, question.purpose, workspace=workspace, name=name)
    return {**asdict(entered), "cache_s": CACHE_S}


class Held(BaseModel):
    endpoint: str
    deployment: str


@router.post("/held", status_code=204)
async def held(said: Held, ctx: Ctx) -> None:
    """A worker of the gateway holds a request for a deployment (of `WORKSPACE/ENDPOINT`) without replicas."""
    endpoints.is_held(ctx, said.endpoint, said.deployment)


class Code(BaseModel):
    code: str
    listener: str = sessions.SECOND


@router.post("/exchange")
async def exchange(said: Code, ctx: Ctx) -> dict[str, str]:
    """A one-time code of `um open` or `um compute connect` for a session of the origin that was asked."""
    return asdict(sessions.exchange(ctx, said.code, listener=said.listener))


@router.get("/tracking/workspaces")
async def list_workspaces(ctx: Ctx, _: Inside) -> list[str]:
    """For MLflow's own choice of workspaces."""
    return await identity.workspace_names(ctx)


@router.get("/tracking/runs/{id}")
async def get_run(id: str, ctx: Ctx, _: Inside) -> dict[str, Any]:
    """What MLflow writes down of a run of ours when it is first touched."""
    return await run_row(ctx, id)

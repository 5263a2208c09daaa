"""What the other parts of this installation ask: the gateway whether a token is good, MLflow whose run an id is."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from ultramarine.api.access import Ctx, Inside
from ultramarine.domain.errors import NotAllowed
from ultramarine.domain.identity import EVERY_WORKSPACE
from ultramarine.services import identity, sessions
from ultramarine.services.tracking import run_row

router = APIRouter(prefix="/internal", include_in_schema=False)
CACHE_S = 5


class Question(BaseModel):
    token: str
    purpose: str
    workspace: str | None = None


@router.post("/authorize")
async def authorize(question: Question, ctx: Ctx) -> dict[str, Any]:
    """Whose token it is and for which workspace it acts.

    A token for all of them acts for the one that the client names, else `default`.
    """
    if question.purpose == "session":
        session = sessions.read(ctx, question.token)
        return {"workspace": session.workspace, "subject": session.subject, "cache_s": CACHE_S}
    token = await identity.signed_in(ctx, question.token)
    workspace = question.workspace or (token.workspace if token.workspace != EVERY_WORKSPACE else "default")
    if token.workspace not in (EVERY_WORKSPACE, workspace):
        raise NotAllowed(
            f"This token is of workspace {token.workspace!r}, not of {workspace!r}.",
            hint="Use a token of that workspace.",
        )
    return {"workspace": workspace, "subject": token.subject, "cache_s": CACHE_S}


class Code(BaseModel):
    code: str


@router.post("/exchange")
async def exchange(said: Code, ctx: Ctx) -> dict[str, str]:
    """A one-time code of `um open` for a session of the second origin."""
    session, path = sessions.exchange(ctx, said.code)
    return {"session": session, "redirect": path}


@router.get("/tracking/runs/{id}")
async def get_run(id: str, ctx: Ctx, _: Inside) -> dict[str, Any]:
    """What MLflow writes down of a run of ours when it is first touched."""
    return await run_row(ctx, id)

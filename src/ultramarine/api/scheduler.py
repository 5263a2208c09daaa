"""What the scheduler decided, for owners: it sees the work of every workspace."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import ValidationError

from ultramarine.api import views
from ultramarine.api.access import Ctx, Owner
from ultramarine.domain.errors import InvalidInput
from ultramarine.planning.trace import TRACE, Turned
from ultramarine.services import replaying

router = APIRouter(prefix="/api/v1/scheduler", tags=["scheduler"])


@router.get("/trace")
async def get_trace(ctx: Ctx, _: Owner) -> Response:
    """The last turns that decided something, with all that they rested on. Kept in memory: a restart begins anew."""
    return Response(await replaying.dumped(ctx), media_type="application/json")


@router.post("/replay")
async def replay_trace(ctx: Ctx, _: Owner, body: Annotated[list[Any] | None, Body()] = None) -> views.View:
    """Decide the turns of a trace again, or without one the last turns: `is_same` says whether it comes out alike."""
    found = await replaying.again(ctx.recorder.trace() if body is None else _read(body))
    return {"value": [views.replayed(each) for each in found], "next": None}


def _read(body: list[Any]) -> Sequence[Turned]:
    try:
        return TRACE.validate_python(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"The trace cannot be read: {where}: {first['msg']}.",
            hint="Send what GET /api/v1/scheduler/trace of this version has answered: um compute replay --save FILE",
        ) from None

"""The loop that asks replicas what they have to do: how many requests wait in them, and how many share a call.

Nothing is decided by it. One that does not answer is told of as it was last, and asked again.
"""

import asyncio
import json
from datetime import datetime, timedelta

from ultramarine.controllers.replicas import places
from ultramarine.planning.lately import ReplicaLoad
from ultramarine.planning.routes import Place
from ultramarine.routing.asking import ask
from ultramarine.services.context import Context

EACH = timedelta(seconds=5)
TIMEOUT_S = 1.0


class LoadLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._asked_at: datetime | None = None

    async def tick(self) -> None:
        now, before = self._ctx.clock(), self._ctx.hub.loads
        if self._asked_at is not None and timedelta(0) <= now - self._asked_at < EACH:
            return
        self._asked_at = now
        async with self._ctx.read() as tx:
            there = await places(self._ctx, tx)
        answers = await asyncio.gather(*(_load(place, before.get(run.key)) for run, place in there))
        self._ctx.hub.loads = {run.key: load for (run, _), load in zip(there, answers, strict=True) if load is not None}


async def _load(place: Place, before: ReplicaLoad | None) -> ReplicaLoad | None:
    try:
        status, body = await ask(place, "GET", "/load", timeout_s=TIMEOUT_S)
        return ReplicaLoad.read(json.loads(body), before=before) if status == 200 else before
    except (OSError, ValueError):  # it hangs or ends, or is of a release that does not tell
        return before

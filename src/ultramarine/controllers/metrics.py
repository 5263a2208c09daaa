"""The loop that gives the tracking server what jobs use, in batches. Nobody waits for it, and nothing hangs on it."""

import logging
from datetime import datetime, timedelta

from ultramarine.domain.errors import NotFound, UltramarineError, Unavailable
from ultramarine.domain.names import RunKey
from ultramarine.domain.run import OwnerNoun, Run
from ultramarine.services.context import Context
from ultramarine.store import runs

log = logging.getLogger(__name__)
EACH = timedelta(seconds=5)
BATCH = 1000  #: metrics in one request: MLflow takes no more


class MetricsLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._told_at: datetime | None = None

    async def tick(self) -> None:
        """Tell what waits. A server that does not answer is told later; what waits for too long is lost."""
        now = self._ctx.clock()
        if self._told_at is not None and timedelta(0) <= now - self._told_at < EACH:
            return
        self._told_at = now
        for key in self._ctx.usage.waiting():
            try:
                await self._tell(key)
            except Unavailable:
                return

    async def _tell(self, key: RunKey) -> None:
        points = self._ctx.usage.points(key)[:BATCH]
        run = await self._of_a_job(key)
        try:
            if run is not None:
                await self._ctx.tracking.runs.log_metrics(run.workspace, run.owner_id, points)
        except Unavailable:
            raise
        except UltramarineError as refused:
            log.info("metrics of %s: %s", key, refused)  # it was deleted there, or its curve is not taken
        self._ctx.usage.told(key, points)

    async def _of_a_job(self, key: RunKey) -> Run | None:
        """The run; None when it is a replica's, which has no run in the tracking server, or is gone."""
        try:
            async with self._ctx.read() as tx:
                run = await runs.get(tx, key)
        except NotFound:
            return None
        return run if run.owner_noun is OwnerNoun.JOB else None

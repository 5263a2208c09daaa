"""The loop that tells the tracking server how jobs ended: one that was killed could not say so itself."""

from collections.abc import Mapping

from ultramarine.domain.errors import NotFound, Unavailable
from ultramarine.domain.job import Tracking
from ultramarine.domain.run import RunStatus
from ultramarine.services.context import Context
from ultramarine.store import jobs

#: MLflow's words.
ENDED: Mapping[RunStatus, str] = {
    RunStatus.COMPLETED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELED: "KILLED",
}


class TrackingLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def tick(self) -> None:
        """Tell what is to be told. A server that does not answer is told later: jobs do not wait for it."""
        async with self._ctx.read() as tx:
            ended = await jobs.to_be_told(tx)
        for workspace, id, status, at in ended:
            moment = at or self._ctx.clock()
            try:
                end_ms = round(moment.timestamp() * 1000)
                await self._ctx.tracking.runs.update(workspace, id, status=ENDED[status], end_time_ms=end_ms)
            except Unavailable:
                return
            except NotFound:
                pass  # it was deleted there
            async with self._ctx.begin() as tx:
                await jobs.track(tx, id, Tracking.ENDED)

"""The loop that tells the tracking server how jobs ended: one that was killed could not say so itself."""

from collections.abc import Mapping

from ultramarine.domain.errors import NotFound, Unavailable
from ultramarine.domain.job import Tracking
from ultramarine.domain.run import RunStatus
from ultramarine.services.context import Context
from ultramarine.store import jobs
from ultramarine.store.jobs import Untold

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
        for job in ended:
            try:
                await self._tell(job)
            except Unavailable:
                return
            except NotFound:
                pass  # it was deleted there
            async with self._ctx.begin() as tx:
                await jobs.track(tx, job.id, Tracking.ENDED)

    async def _tell(self, job: Untold) -> None:
        moment = job.ended_at or self._ctx.clock()
        end_ms = round(moment.timestamp() * 1000)
        runs = self._ctx.tracking.runs
        # Of a job that went through at once no attempt was killed, so its children have ended themselves.
        if job.status is not RunStatus.COMPLETED or job.attempt > 1:
            status = ENDED[RunStatus.FAILED if job.status is RunStatus.COMPLETED else job.status]
            await runs.end_children(job.workspace, job.id, status=status, end_time_ms=end_ms)
        await runs.update(job.workspace, job.id, status=ENDED[job.status], end_time_ms=end_ms)

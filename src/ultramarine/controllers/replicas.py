"""Which replicas can be asked by the control plane, and where: those that run, here or on another machine."""

from collections.abc import Sequence

from ultramarine.domain.names import is_of
from ultramarine.domain.run import Run, RunStatus
from ultramarine.planning.routes import Place, place_of
from ultramarine.services import elsewhere
from ultramarine.services.context import Context
from ultramarine.store import runs
from ultramarine.store.database import Tx


async def places(ctx: Context, tx: Tx) -> Sequence[tuple[Run, Place]]:
    """Those of before a restore are nobody's."""
    there = await runs.open_replicas(tx)
    trust = await elsewhere.trust(ctx, tx, there)
    return [
        (run, place)
        for run in there
        if run.status is RunStatus.RUNNING and is_of(run.key, ctx.site.epoch)
        if (place := place_of(run, trust)) is not None
    ]

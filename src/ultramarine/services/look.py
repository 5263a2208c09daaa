"""What the scheduler of a pool looks at: its open runs, computes, allocations, nodes, hosts, as one state."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from ultramarine.domain.environment import Environment, EnvironmentStatus
from ultramarine.domain.names import RunKey
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import Run, RunStatus
from ultramarine.planning.seen import DIGITS
from ultramarine.planning.state import FAILED_STARTS_S, Need, State
from ultramarine.services import environments
from ultramarine.services.context import Context
from ultramarine.store import allocations, computes, hosts, installation, runs
from ultramarine.store.database import Tx


class Look:
    """Remembers what it has read, so that what stands still is not read again.

    Why runs wait is written by who leads alone, who says so (`knows`): who begins to lead has a new one.
    """

    def __init__(self, ctx: Context, pool: str) -> None:
        self._ctx, self._pool = ctx, pool
        self._runs, self._allocations = runs.known(pool), allocations.known(pool)
        self._nodes = allocations.known_nodes(pool)
        self._ready: dict[RunKey, str] = {}  #: runs whose environment is known to be locked, and which: it stays so

    async def state(self, tx: Tx) -> State:
        open_runs, pool = await self._runs.again(tx), self._pool
        quotas = await installation.quotas(tx)
        return State(
            epoch=self._ctx.site.epoch,
            runs=open_runs,
            computes=await computes.of_pool(tx, pool),
            allocations=await self._allocations.again(tx),
            nodes=await self._nodes.again(tx),
            hosts=await hosts.every(tx, pool),
            environments=await self._environments(tx, open_runs),
            wants=self._ready,
            quotas=quotas,
            elsewhere=await self._elsewhere(tx) if quotas else {},
            failed_starts=await allocations.failed_starts(
                tx, since=self._ctx.clock() - timedelta(seconds=FAILED_STARTS_S), pool=pool
            ),
        )

    async def _elsewhere(self, tx: Tx) -> Mapping[str, Usage]:
        """What workspaces hold in other pools. Two loops that look at once may go over a quota by one turn's work."""
        others = {host.pool for host in await hosts.every(tx)} - {self._pool}
        found: dict[str, Usage] = defaultdict(Usage)
        for pool in others:
            there = State(
                epoch=self._ctx.site.epoch,
                runs=await runs.open_ones(tx, pool),
                computes=(),
                allocations=await allocations.open_ones(tx, pool),
                nodes=(),
                hosts=(),
            )
            for workspace, usage in there.held().items():
                found[workspace] += usage
        return found

    def knows(self, written: Iterable[Run], reasons: Mapping[RunKey, str]) -> None:
        """These were just written, and these words: they need not be read."""
        self._runs.put(written)
        told = ((self._runs.get(key), words) for key, words in reasons.items())
        self._runs.put([replace(run, reason=words) for run, words in told if run is not None])

    async def _environments(self, tx: Tx, open_runs: Sequence[Run]) -> Mapping[RunKey, Need]:
        """Of queued runs whose environment is not locked: what they wait for."""
        queued, ready = RunStatus.QUEUED, self._ready
        unknown = {run.key: run for run in open_runs if run.status is queued and run.key not in ready}
        if len(ready) > 2 * len(open_runs):
            ready = self._ready = {run.key: ready[run.key] for run in open_runs if run.key in ready}
        needs: dict[RunKey, Need] = {}
        found: dict[tuple[object, ...], Environment] = {}
        for key, spec in (await runs.specs(tx, list(unknown)) if unknown else {}).items():
            named = spec.get("environment")
            if named is None:
                ready[key] = ""
                continue
            run = unknown[key]
            same = (named["workspace"], named["name"], named["version"], run.need or run.compute)
            if (one := found.get(same)) is None:
                one = found[same] = await environments.of_run(tx, run, named)
            if one.locked is not None and one.status is EnvironmentStatus.SUCCEEDED:
                ready[key] = one.locked.digest[:DIGITS]
            else:
                needs[key] = Need(name=f"{one.name}:{one.version}", status=one.status, reason=one.reason)
        return needs

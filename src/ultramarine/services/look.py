"""What the scheduler of a pool looks at: its open runs, computes, allocations, nodes, hosts, as one state."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from ultramarine.domain.environment import Environment, EnvironmentStatus
from ultramarine.domain.names import RunKey
from ultramarine.domain.quota import Usage
from ultramarine.domain.run import Run, RunStatus
from ultramarine.planning.state import FAILED_STARTS_S, Need, State
from ultramarine.services.context import Context
from ultramarine.store import allocations, assets, computes, hosts, installation, runs
from ultramarine.store.database import Tx


class Look:
    """Remembers what it has read, so that what stands still is not read again."""

    def __init__(self, ctx: Context, pool: str) -> None:
        self._ctx, self._pool = ctx, pool
        self._known: Mapping[RunKey, Run] = {}  #: open runs as they were last read
        self._ready: set[RunKey] = set()  #: runs whose environment is known to be locked: it stays so

    async def state(self, tx: Tx) -> State:
        open_runs, pool = await self._open_runs(tx), self._pool
        quotas = await installation.quotas(tx)
        return State(
            epoch=self._ctx.site.epoch,
            runs=open_runs,
            computes=await computes.of_pool(tx, pool),
            allocations=await allocations.open_ones(tx, pool),
            nodes=await allocations.nodes(tx, pool),
            hosts=await hosts.every(tx, pool),
            environments=await self._environments(tx, open_runs),
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

    def knows(self, written: Iterable[Run]) -> None:
        """These were just written: they need not be read."""
        self._known = {**self._known, **{run.key: run for run in written}}

    async def _open_runs(self, tx: Tx) -> Sequence[Run]:
        """All that have not ended. Those that are as they were are not read again: a long queue stands mostly still."""
        found = await runs.open_again(tx, self._known, self._pool)
        self._known = {run.key: run for run in found}
        return found

    async def _environments(self, tx: Tx, open_runs: Sequence[Run]) -> Mapping[RunKey, Need]:
        """Of queued runs whose environment is not locked: what they wait for."""
        queued = [run for run in open_runs if run.status is RunStatus.QUEUED]
        self._ready &= {run.key for run in queued}
        unknown = [run.key for run in queued if run.key not in self._ready]
        needs: dict[RunKey, Need] = {}
        found: dict[tuple[str, ...], Environment] = {}
        for key, spec in (await runs.specs(tx, unknown) if unknown else {}).items():
            named = spec.get("environment")
            if named is None:
                self._ready.add(key)
                continue
            name = (named["workspace"], named["name"], named["version"])
            if name not in found:
                found[name] = await assets.environment(tx, *name)
            if found[name].status is EnvironmentStatus.SUCCEEDED:
                self._ready.add(key)
            else:
                needs[key] = Need(name=f"{name[1]}:{name[2]}", status=found[name].status, reason=found[name].reason)
        return needs

"""The loop that asks replicas whether they live and are ready, as their deployments say (`planning/probing.py`).

The gateway finds out by itself when a replica does not answer, and goes round it. Here it is found out that one hangs
for good, and is to be replaced, or that it has said for long that it is not ready. Those on other machines are asked as
the gateway asks them. Replicas of before a restore are nobody's here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ultramarine.controllers.replicas import places
from ultramarine.domain.endpoint import Deployment, ProbeSettings
from ultramarine.domain.names import RunKey
from ultramarine.domain.run import Run
from ultramarine.planning.probing import Kind, Probing
from ultramarine.planning.routes import Place
from ultramarine.routing.asking import ask
from ultramarine.services.context import Context
from ultramarine.store import endpoints

PATHS: Mapping[Kind, str] = {Kind.LIVENESS: "/health/live", Kind.READINESS: "/health/ready"}
Asked = tuple[RunKey, Kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probed:
    """A replica, and how one of its probes is made."""

    run: Run
    place: Place
    kind: Kind
    settings: ProbeSettings

    async def why_not(self) -> str:
        """What is wrong; nothing where all is well."""
        try:
            status, _ = await ask(self.place, "GET", PATHS[self.kind], timeout_s=self.settings.timeout)
        except TimeoutError:
            return f"no answer in {self.settings.timeout} s"
        except OSError as error:
            return str(error)
        return f"it answered {status}" if status != 200 else ""


class ProbeLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._asking: dict[Asked, asyncio.Task[str]] = {}

    async def tick(self) -> None:
        there = {(each.run.key, each.kind): each for each in await self._replicas()}
        hub, now, before = self._ctx.hub, self._ctx.clock(), self._ctx.hub.probings
        hub.probings = {
            place: before.get(place) or Probing.of(each.run, each.settings) for place, each in there.items()
        }
        for place in self._asking.keys() - there.keys():
            self._asking.pop(place).cancel()
        for place, each in there.items():
            if (asking := self._asking.get(place)) is not None and asking.done():
                del self._asking[place]
                self._take(place, each, asking.result())
            if place not in self._asking and hub.probings[place].due_at <= now:
                self._asking[place] = asyncio.create_task(each.why_not())

    async def settle(self) -> None:
        """Until every probe that was begun has its answer."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _replicas(self) -> list[_Probed]:
        async with self._ctx.read() as tx:
            deployments: dict[str, Deployment] = {d.id: d for d in await endpoints.deployments(tx)}
            there: Sequence[tuple[Run, Place]] = await places(self._ctx, tx) if deployments else []
        return [
            _Probed(run=run, place=place, kind=kind, settings=kind.settings(deployments[run.owner_id].spec))
            for run, place in there
            if run.owner_id in deployments
            for kind in Kind
        ]

    def _take(self, place: Asked, each: _Probed, why: str) -> None:
        hub, before = self._ctx.hub, self._ctx.hub.probings[place]
        hub.probings[place] = before.after(why, each.settings, self._ctx.clock())
        if hub.probings[place].is_well != before.is_well:
            self._ctx.ring(self._ctx.serving)

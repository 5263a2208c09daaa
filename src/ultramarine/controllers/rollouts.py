"""The loop of rollouts: look at the figures of the step, and do the one thing that they say."""

from collections.abc import Mapping, Sequence
from functools import reduce

from ultramarine.domain.endpoint import Deployment, DeploymentStatus, Endpoint
from ultramarine.domain.rollout import Rollout, RolloutEvent
from ultramarine.planning.rollouts import Move, Seen, Wait, plan
from ultramarine.planning.traffic import Traffic
from ultramarine.services.context import Context
from ultramarine.services.rollouts import GONE, move
from ultramarine.store import endpoints, rollouts

ByDeployment = Mapping[tuple[str, str], Traffic]  #: by `workspace/endpoint` and deployment, since ever
NONE = Traffic()


class RolloutLoop:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._begun: dict[tuple[str, int], ByDeployment] = {}  #: by rollout and step, the figures as it began

    async def tick(self) -> None:
        async with self._ctx.read() as tx:
            going_on = await rollouts.open_ones(tx)
        waits: dict[str, str] = {}
        if going_on:
            figures = self._ctx.hub.traffic
            for rollout in going_on:
                waits[rollout.id] = await self._turn(rollout, figures)
        self._ctx.hub.rollouts = waits
        self._begun = {step: figures for step, figures in self._begun.items() if step[0] in waits}

    async def _turn(self, rollout: Rollout, figures: ByDeployment) -> str:
        """What it waits for; empty when it was moved."""
        async with self._ctx.read() as tx:
            endpoint = await endpoints.find(tx, rollout.workspace, rollout.endpoint)
            there = await endpoints.deployments(tx, rollout.workspace, rollout.endpoint)
        if endpoint is None:
            await move(self._ctx, rollout, RolloutEvent.TRAFFIC_WAS_CHANGED, reason="Its endpoint was deleted.")
            return ""
        begun = self._begun.setdefault((rollout.id, rollout.step), figures)
        at = f"{rollout.workspace}/{rollout.endpoint}"
        since = {name: now.since(begun.get((of, name), NONE)) for (of, name), now in figures.items() if of == at}
        match plan(rollout, _seen(endpoint, rollout, there, since), self._ctx.clock()):
            case Wait(reason=waits):
                return waits
            case Move(event=event, reason=reason):
                self._begun[rollout.id, rollout.step + 1] = figures  # those of before its traffic moves
                await move(self._ctx, rollout, event, reason=reason)
                return ""


def _seen(endpoint: Endpoint, rollout: Rollout, there: Sequence[Deployment], since: Mapping[str, Traffic]) -> Seen:
    candidate = next((each for each in there if each.name == rollout.deployment), None)
    others = [since.get(name, NONE) for name in endpoint.spec.traffic if name != rollout.deployment]
    return Seen(
        traffic=endpoint.spec.traffic,
        candidate=since.get(rollout.deployment, NONE),
        others=reduce(Traffic.plus, others, NONE),
        why_not=_why_not(candidate),
        is_lost=candidate is None or candidate.status in GONE,
    )


def _why_not(candidate: Deployment | None) -> str:
    if candidate is None:
        return "it is not there any more."
    if candidate.status in GONE:
        return f"it is {candidate.status}. {candidate.reason}".strip()
    return "it does not answer yet." if candidate.status is DeploymentStatus.CREATING else ""

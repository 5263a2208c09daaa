"""Rollouts: traffic that moves by itself, and the way back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ultramarine.domain.endpoint import DeploymentStatus, Endpoint
from ultramarine.domain.errors import Conflict, InvalidInput, NotFound, StaleWrite
from ultramarine.domain.rollout import Rollout, RolloutEvent, RolloutSpec, RolloutStatus
from ultramarine.services import endpoints as endpoint_services
from ultramarine.services.context import Context
from ultramarine.services.endpoints import EndpointState
from ultramarine.store import endpoints, rollouts
from ultramarine.store.database import Tx

GONE = (DeploymentStatus.FAILED, DeploymentStatus.DELETING, DeploymentStatus.DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """`waits`: what it waits for right now, in words."""

    rollout: Rollout
    waits: str


async def begin(
    ctx: Context, workspace: str, endpoint: str, deployment: str, *, body: Mapping[str, Any]
) -> RolloutState:
    """Write that the traffic is to move to a deployment; its loop does it."""
    spec = RolloutSpec.read(dict(body), what=f"the rollout of {deployment}")
    async with ctx.begin() as tx:
        there = await endpoints.get(tx, workspace, endpoint)
        if (goes_on := await rollouts.open_of(tx, workspace, endpoint)) is not None:
            raise Conflict(
                f"A rollout of {goes_on.deployment} goes on at {endpoint}.",
                hint=f"Wait for its end, or take it back: um online-deployment rollback -e {endpoint}",
            )
        await _check(tx, workspace, endpoint, deployment)
        if there.spec.traffic.get(deployment, 0) >= spec.shares[0]:
            raise InvalidInput(
                f"{deployment} has {there.spec.traffic[deployment]} % of the traffic already; the first step is "
                f"{spec.shares[0]} %.",
                hint="Begin with more: --steps 50,100",
            )
        now = ctx.clock()
        rollout = Rollout(
            id=ctx.names(),
            workspace=workspace,
            endpoint=endpoint,
            deployment=deployment,
            spec=spec,
            before=there.spec.traffic,
            step_at=now,
            created_at=now,
            changed_at=now,
        )
        await rollouts.add(tx, rollout)
    ctx.ring(ctx.serving)
    return RolloutState(rollout=rollout, waits="")


async def _check(tx: Tx, workspace: str, endpoint: str, deployment: str) -> None:
    there = await endpoints.deployment(tx, workspace, endpoint, deployment)
    if there.status in GONE:
        raise Conflict(
            f"Deployment {deployment} is {there.status}: it can take no traffic.",
            hint=f"See why: um online-deployment show -e {endpoint} -n {deployment}",
        )


async def newest(ctx: Context, workspace: str, endpoint: str) -> RolloutState:
    """The endpoint's last rollout. Raises `NotFound`."""
    async with ctx.read() as tx:
        await endpoints.get(tx, workspace, endpoint)
        found = await rollouts.newest(tx, workspace, endpoint)
    if found is None:
        raise NotFound(
            "rollout", endpoint, hint=f"um online-deployment rollout -e {endpoint} -n DEPLOYMENT --steps 10,50,100"
        )
    return RolloutState(rollout=found, waits=ctx.hub.rollouts.get(found.id, ""))


async def roll_back(ctx: Context, workspace: str, endpoint: str) -> EndpointState:
    """Give the endpoint the traffic that it had: before the rollout that goes on, else before its last change."""
    async with ctx.begin() as tx:
        there = await endpoints.get(tx, workspace, endpoint)
        goes_on = await rollouts.open_of(tx, workspace, endpoint)
        before = there.traffic_before if goes_on is None else goes_on.before
        if before is None:
            raise Conflict(
                f"The traffic of {endpoint} has never been changed: there is nothing to go back to.",
                hint=f'Say what it is to be: um online-endpoint update -n {endpoint} --traffic "blue=100"',
            )
        await endpoint_services.check_traffic(tx, workspace, there.with_traffic(before).spec)
        if goes_on is not None:
            await rollouts.record(tx, goes_on, RolloutEvent.TAKEN_BACK, now=ctx.clock(), reason="Taken back by a user.")
        await _keep(tx, there, before)
    ctx.ring(ctx.serving)
    return await endpoint_services.get(ctx, workspace, endpoint)


async def move(ctx: Context, rollout: Rollout, event: RolloutEvent, *, reason: str) -> None:
    """Record what has happened to it, and give the endpoint its traffic, in one transaction.

    Raises `StaleWrite` when somebody has changed the traffic since it was looked at.
    """
    async with ctx.begin() as tx:
        new = await rollouts.record(tx, rollout, event, now=ctx.clock(), reason=reason)
        if new.status is not RolloutStatus.CANCELED:
            there = await endpoints.get(tx, rollout.workspace, rollout.endpoint)
            if there.spec.traffic != rollout.traffic:
                raise StaleWrite("endpoint", rollout.endpoint)
            await _keep(tx, there, new.before if new.status is RolloutStatus.RETURNED else new.traffic)
    ctx.ring(ctx.serving)


async def _keep(tx: Tx, endpoint: Endpoint, traffic: Mapping[str, int]) -> None:
    if endpoint.spec.traffic != traffic:
        await endpoints.update(tx, endpoint.with_traffic(traffic))

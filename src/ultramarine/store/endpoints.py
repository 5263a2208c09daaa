"""Online endpoints and their deployments."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ultramarine.domain.endpoint import (
    Deployment,
    DeploymentEvent,
    DeploymentSpec,
    DeploymentStatus,
    Endpoint,
    EndpointSpec,
)
from ultramarine.domain.errors import NotFound, StaleWrite
from ultramarine.domain.page import Page, PageRequest
from ultramarine.store import events
from ultramarine.store import tables as t
from ultramarine.store.database import Tx
from ultramarine.store.paging import fetch_page
from ultramarine.store.rows import Row, change, fetch, fetch_one, fields

_THERE = t.deployments.c.status != DeploymentStatus.DELETED.value


async def add(tx: Tx, endpoint: Endpoint) -> None:
    await tx.execute(t.endpoints.insert(), {**_endpoint_row(endpoint), "created_at": endpoint.created_at})


async def update(tx: Tx, endpoint: Endpoint) -> None:
    """Keep a changed copy; `endpoint.version` is that of the copy that was read."""
    c = t.endpoints.c
    where = (c.workspace == endpoint.workspace, c.name == endpoint.name, c.version == endpoint.version)
    done = await tx.execute(
        t.endpoints.update().where(*where).values(**{**_endpoint_row(endpoint), "version": endpoint.version + 1})
    )
    if done.rowcount != 1:
        raise StaleWrite("endpoint", endpoint.name)


async def remove(tx: Tx, workspace: str, name: str) -> None:
    await tx.execute(t.endpoints.delete().where(t.endpoints.c.workspace == workspace, t.endpoints.c.name == name))


async def find(tx: Tx, workspace: str, name: str) -> Endpoint | None:
    query = sa.select(t.endpoints).where(t.endpoints.c.workspace == workspace, t.endpoints.c.name == name)
    row = await fetch_one(tx, query)
    return None if row is None else _endpoint(row)


async def get(tx: Tx, workspace: str, name: str) -> Endpoint:
    if (found := await find(tx, workspace, name)) is None:
        raise NotFound("online-endpoint", name, known=[e.name for e in await every(tx, workspace)])
    return found


async def every(tx: Tx, workspace: str | None = None) -> Sequence[Endpoint]:
    query = sa.select(t.endpoints).order_by(t.endpoints.c.workspace, t.endpoints.c.name)
    if workspace is not None:
        query = query.where(t.endpoints.c.workspace == workspace)
    return [_endpoint(row) for row in await fetch(tx, query)]


async def page(tx: Tx, workspace: str, request: PageRequest) -> Page[Endpoint]:
    """Those of a workspace, by name."""
    query = sa.select(t.endpoints).where(t.endpoints.c.workspace == workspace)
    return await fetch_page(tx, query, request, order=[t.endpoints.c.name], read=_endpoint)


async def add_deployment(tx: Tx, deployment: Deployment) -> None:
    await tx.execute(
        t.deployments.insert(), {**_row(deployment), "id": deployment.id, "created_at": deployment.created_at}
    )
    await events.add(tx, deployment, _about(deployment), event="created", at=deployment.created_at)


async def record(
    tx: Tx, deployment: Deployment, event: DeploymentEvent, *, now: datetime, reason: str = ""
) -> Deployment:
    """Apply an event to a deployment and keep it. Other fields of `deployment` that were changed are kept with it."""
    new = deployment.after(event, now=now, reason=reason)
    await change(tx, t.deployments, deployment.id, version=deployment.version, values=_row(new), noun="deployment")
    await events.add(tx, replace(new, reason=reason), _about(new), event=event, at=now)
    return new


async def keep(tx: Tx, deployment: Deployment) -> None:
    """Keep a changed copy whose status is as it was: what was resolved, how many replicas were made."""
    values = {**_row(deployment), "version": deployment.version + 1}
    await change(tx, t.deployments, deployment.id, version=deployment.version, values=values, noun="deployment")


async def deployments(tx: Tx, workspace: str | None = None, endpoint: str | None = None) -> Sequence[Deployment]:
    """All that are not deleted."""
    query = sa.select(t.deployments).where(_THERE).order_by(t.deployments.c.created_at, t.deployments.c.id)
    if workspace is not None:
        query = query.where(t.deployments.c.workspace == workspace)
    if endpoint is not None:
        query = query.where(t.deployments.c.endpoint == endpoint)
    return [_deployment(row) for row in await fetch(tx, query)]


async def deployment_page(tx: Tx, workspace: str, endpoint: str, *, request: PageRequest) -> Page[Deployment]:
    """Those of an endpoint that are not deleted, by name."""
    c = t.deployments.c
    query = sa.select(t.deployments).where(_THERE, c.workspace == workspace, c.endpoint == endpoint)
    return await fetch_page(tx, query, request, order=[c.name], read=_deployment)


async def deployment(tx: Tx, workspace: str, endpoint: str, name: str) -> Deployment:
    there = await deployments(tx, workspace, endpoint)
    for one in there:
        if one.name == name:
            return one
    raise NotFound(
        "online-deployment", name, hint=f"um online-deployment list -e {endpoint}", known=[d.name for d in there]
    )


def _about(deployment: Deployment) -> events.About:
    return events.About(noun="deployment", id=deployment.id, name=f"{deployment.endpoint}/{deployment.name}")


def _endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "workspace": endpoint.workspace,
        "name": endpoint.name,
        "spec": endpoint.spec.body(),
        "keys_sha256": list(endpoint.keys_sha256),
        "keys_sealed": endpoint.keys_sealed,
        "traffic_before": None if endpoint.traffic_before is None else dict(endpoint.traffic_before),
        "version": endpoint.version,
    }


def _endpoint(row: Row) -> Endpoint:
    first, second = row["keys_sha256"]
    spec = EndpointSpec.read(row["spec"], what=f"endpoint {row['name']}")
    return Endpoint(**fields(row, spec=spec, keys_sha256=(first, second)))


def _row(deployment: Deployment) -> dict[str, Any]:
    return {
        "workspace": deployment.workspace,
        "endpoint": deployment.endpoint,
        "name": deployment.name,
        "spec": deployment.spec.body(),
        "serving": deployment.serving,
        "replicas_made": deployment.replicas_made,
        "replicas_old": deployment.replicas_old,
        "replicas_wanted": deployment.replicas_wanted,
        "came_up": deployment.came_up,
        "status": deployment.status.value,
        "reason": deployment.reason,
        "version": deployment.version,
        "changed_at": deployment.changed_at,
    }


def _deployment(row: Row) -> Deployment:
    spec = DeploymentSpec.read(row["spec"], what=f"deployment {row['name']}")
    return Deployment(**fields(row, spec=spec, status=DeploymentStatus(row["status"])))

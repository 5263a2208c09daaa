"""What deployments have collected of requests and answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ultramarine.domain.endpoint import DeploymentStatus
from ultramarine.domain.errors import Conflict, NotFound
from ultramarine.domain.names import NodeKey, RunKey
from ultramarine.files.collected import CollectedFile, CollectedOf, named
from ultramarine.services.context import Context
from ultramarine.store import endpoints, runs


async def append(ctx: Context, node: NodeKey, run: RunKey, path: str, *, content: bytes, offset: int) -> int:
    """Add to what a replica has collected that is or was on this node. The size now.

    Raises `OffsetDiffers`, and `NotFound` for a run that is not this node's or collects nothing.
    """
    spec: Mapping[str, Any] | None = ctx.hub.spec(node, run)
    if spec is None:
        async with ctx.read() as tx:
            row = await runs.get(tx, run)
            if node in row.nodes:
                spec = {**(await runs.specs(tx, [run]))[run], "workspace": row.workspace}
    if spec is None or not (its := spec.get("collects")):
        raise NotFound("run that collects", run, hint="Nothing is to be done: these files are not wanted.")
    of = CollectedOf(workspace=spec["workspace"], endpoint=its["endpoint"], deployment=its["deployment"])
    return ctx.collected.append(of, named(path, run), content, offset=offset)


async def files(ctx: Context, of: CollectedOf, *, collection: str) -> Sequence[CollectedFile]:
    """What there is, of a deployment that is gone too."""
    found = ctx.collected.files(of, collection=collection)
    if not found:
        async with ctx.read() as tx:
            await endpoints.deployment(tx, of.workspace, of.endpoint, of.deployment)
    return found


async def remove(ctx: Context, of: CollectedOf, *, collection: str, before: datetime | None) -> Sequence[CollectedFile]:
    """Delete what was collected; while the deployment is there, only what is of a time that is over.

    A file that still grows would come back whole from its node.
    """
    now = ctx.clock()
    if before is None or before > now:
        async with ctx.read() as tx:
            there = [d for d in await endpoints.deployments(tx, of.workspace, of.endpoint) if d.name == of.deployment]
        if any(d.status is not DeploymentStatus.DELETED for d in there):
            raise Conflict(
                f"Deployment {of.deployment} is there and may be collecting.",
                hint="Delete what is older than a day of your choice (--before 2026-11-28), or the deployment first.",
            )
    return ctx.collected.remove(of, collection=collection, before=before)

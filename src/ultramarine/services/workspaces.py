"""The end of a workspace: refused while anything lives in it, then asked for, then carried out by a loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ultramarine.domain.compute import LOCAL, ComputeEvent
from ultramarine.domain.errors import Conflict, NotFound
from ultramarine.domain.identity import DEFAULT_WORKSPACE
from ultramarine.services import identity
from ultramarine.services.context import Context
from ultramarine.store import computes, endpoints, installation, runs
from ultramarine.store.database import Tx

NAMED_MAX = 8  #: so many things that live in it are named


@dataclass(frozen=True, slots=True, kw_only=True)
class _Living:
    """Something that is in the way, and the command that ends it."""

    words: str
    command: str


async def delete(ctx: Context, name: str) -> Mapping[str, Any]:
    """Ask for its end: its tokens are good no more, its nodes go, then its records.

    Raises `Conflict` while anything lives in it. Asked again it goes on as before.
    """
    if name == DEFAULT_WORKSPACE:
        raise Conflict("The workspace default cannot be deleted: it is always there.", hint="um workspace list")
    async with ctx.begin() as tx:
        found = await installation.workspace(tx, name)
        if found is None or found["is_usable"]:
            await identity.require_workspace(tx, name)
            _refuse_living(name, await _living(tx, name))
            local = await computes.get(tx, name, LOCAL)
            why = "Its workspace is being deleted."
            await computes.record(tx, local, ComputeEvent.DELETE_ASKED, now=ctx.clock(), reason=why)
            await installation.revoke_tokens_of(tx, name, now=ctx.clock())
    ctx.ring()
    return await identity.workspace(ctx, name)


def _refuse_living(name: str, living: Sequence[_Living]) -> None:
    if not living:
        return
    more = f" and {len(living) - NAMED_MAX} more" if len(living) > NAMED_MAX else ""
    named = ", ".join(one.words for one in living[:NAMED_MAX])
    raise Conflict(
        f"Workspace {name} is in use by {named}{more}.",
        hint=f"End what lives in it, e.g. {living[0].command} -w {name}; then delete the workspace.",
    )


async def _living(tx: Tx, name: str) -> Sequence[_Living]:
    """Jobs first: what is behind them cannot be deleted before them."""
    jobs = [
        _Living(words=f"job {run.owner_name} ({run.status})", command=f"um job cancel -n {run.owner_name}")
        for run in await runs.open_ones(tx)
        if run.workspace == name and run.owner_noun == "job"
    ]
    addresses = [
        _Living(words=f"online endpoint {e.name}", command=f"um online-endpoint delete -n {e.name}")
        for e in await endpoints.every(tx, name)
    ]
    deployments = [
        _Living(
            words=f"deployment {d.endpoint}/{d.name} ({d.status})",
            command=f"um online-deployment delete -e {d.endpoint} -n {d.name}",
        )
        for d in await endpoints.deployments(tx, name)
    ]
    clusters = [
        _Living(words=f"compute {c.name} ({c.status})", command=f"um compute delete -n {c.name}")
        for c in await computes.every(tx, name)
        if not c.is_elastic
    ]
    return [*jobs, *addresses, *deployments, *clusters]


async def purge(ctx: Context) -> None:
    """Remove the records of every workspace in which all has ended: MLflow's first, then ours.

    Killed in between it begins anew. Raises `Unavailable` while MLflow does not answer.
    """
    async with ctx.read() as tx:
        ended = await installation.unusable_workspaces(tx)
    for name in ended:
        try:
            await ctx.tracking.runs.delete_workspace(name, secret=ctx.secrets.of("internal"))
        except NotFound:
            pass  # it never was in MLflow, or it is gone since an earlier turn
        ctx.collected.remove_workspace(name)
        async with ctx.begin() as tx:
            await installation.purge_workspace(tx, name)
        ctx.ring()

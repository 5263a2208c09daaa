"""Compute instances: start, stop, restart, and what the machine of one runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from ultramarine import curated
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.errors import Conflict, InvalidInput, NotAllowed
from ultramarine.domain.identity import Right, Token, check, may
from ultramarine.domain.instance import Instance, InstanceEvent, InstanceSpec, KeepAwakeSpec, ResizeSpec
from ultramarine.planning import calendar
from ultramarine.planning.calendar import Moment
from ultramarine.planning.idleness import Idleness
from ultramarine.services import elsewhere, environments, inside
from ultramarine.services.client import client_zip
from ultramarine.services.context import Context
from ultramarine.store import assets, computes, instances, runs
from ultramarine.store.database import Tx

JUPYTER = "jupyter"  #: the curated environment that it runs in
KERNEL = "kernel"  #: the curated environment that stands behind those of its kernels
CLIENT = "client"  #: the same, with what the command line and the Python client import
ZIP, CLIENT_ZIP, SETTINGS = "instance.zip", "client.zip", "settings.json"  #: its files
HTTP = "http"  #: what it listens for, in the runner's words
LAB = "lab"  #: on another machine, its own socket behind its door


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    instance: Instance
    compute: Compute


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceWhy:
    """Why an instance stays up or stops, and what its schedules bring next.

    `words`: why it stands as it does. `idleness`: of one that runs, once it is known.
    """

    state: InstanceState
    words: str
    idleness: Idleness | None
    next: Moment | None


def new(ctx: Context, compute: Compute, spec: InstanceSpec, *, token: Token) -> Instance:
    """The row beside a compute that is made; on behalf of somebody else by an operator alone.

    Raises `NotAllowed` for a job, which is nobody who could enter it.
    """
    if token.job is not None:
        raise NotAllowed(
            "A job makes no compute instances: whose would they be?",
            hint="Make one with a token of your own: um compute create -f instance.yml",
        )
    if spec.create_on_behalf_of is not None:
        check(token, Right.OPERATE, compute.workspace)
    now = ctx.clock()
    return Instance(
        id=compute.id,
        workspace=compute.workspace,
        name=compute.name,
        owner=token.subject if spec.create_on_behalf_of is None else spec.create_on_behalf_of.user,
        active_at=now,
        scheduled_at=now,
        created_at=now,
        changed_at=now,
    )


def check_spec(ctx: Context, spec: InstanceSpec) -> None:
    """Raise `InvalidInput` and its kin for schedules and scripts that nothing can be made of."""
    inside.check(ctx, spec)
    if spec.schedules is not None:
        calendar.check(spec.schedules.compute_start_stop)


async def follow(ctx: Context, tx: Tx, *, before: Compute, after: Compute) -> None:
    """Its specification changes. New schedules begin now, and whose it is stays so; raises `Conflict`."""
    old, new = before.spec, after.spec
    instance = await instances.find(tx, before.id)
    if instance is None or not isinstance(old, InstanceSpec) or not isinstance(new, InstanceSpec):
        return
    given = new.create_on_behalf_of
    if given is not None and given.user != instance.owner:
        raise Conflict(
            f"Compute instance {instance.name} is {instance.owner}'s; it cannot become {given.user}'s.",
            hint="Make one for that person: um compute create --type computeinstance -f FILE.yml",
        )
    if old.schedules != new.schedules:
        await instances.keep(tx, replace(instance, scheduled_at=ctx.clock()))


async def explain(ctx: Context, workspace: str, name: str) -> InstanceWhy | None:
    """What keeps it up, or when it stops; None of a compute that is no instance."""
    async with ctx.read() as tx:
        compute = await computes.get(tx, workspace, name)
        instance = await instances.find(tx, compute.id)
        there = [] if instance is None else [run for run in await runs.open_instances(tx) if run.owner_id == compute.id]
    if instance is None:
        return None
    state = InstanceState(instance=instance, compute=compute)
    return InstanceWhy(
        state=state,
        words=instance.words(there[-1].reason if there else ""),
        idleness=ctx.hub.idleness.get(state.instance.id),
        next=_next(state, now=ctx.clock()),
    )


def _next(state: InstanceState, *, now: datetime) -> Moment | None:
    spec = state.compute.spec
    if not isinstance(spec, InstanceSpec) or spec.schedules is None:
        return None
    return calendar.coming(spec.schedules.compute_start_stop, now=now, made_at=state.instance.created_at)


async def keep_awake(
    ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, token: Token
) -> InstanceState:
    """It does not stop for want of use before so many hours from now; 0 takes that back."""
    asked = KeepAwakeSpec.read(body, what="keep-awake")
    async with ctx.begin() as tx:
        state = await _mine(tx, workspace, name, token)
        until = ctx.clock() + timedelta(hours=asked.hours) if asked.hours else None
        await instances.keep(tx, replace(state.instance, awake_until=until))
        state = await _find(tx, workspace, name)
    ctx.ring(ctx.serving)
    return state


async def resize(ctx: Context, workspace: str, name: str, body: Mapping[str, Any], *, token: Token) -> InstanceState:
    """Its next machine has another size: if it is up, it ends and comes back on one.

    Raises `InvalidInput` for a size that does not fit, `IllegalTransition` while it is ending.
    """
    asked = ResizeSpec.read(body, what="resize")
    async with ctx.begin() as tx:
        state = await _mine(tx, workspace, name, token)
        compute, spec = state.compute, state.compute.spec
        assert isinstance(spec, InstanceSpec), "an instance's compute is of no other type"
        size, _ = ctx.site.sizes.fitted(asked.size, ctx.site.host(spec.provider))
        if size.name != compute.size_name:
            now, words = ctx.clock(), f"Asked by user: from {compute.size_name} to {size.name}."
            await instances.record(tx, state.instance, InstanceEvent.RESIZE_ASKED, now=now, reason=words)
            other = spec.model_copy(update={"size": asked.size})
            changed = replace(compute, spec=other, size=size.amount, size_name=size.name)
            await computes.update(tx, changed, now=now)
        state = await _find(tx, workspace, name)
    ctx.ring(ctx.serving)
    return state


async def ask(ctx: Context, workspace: str, name: str, event: InstanceEvent, *, token: Token) -> InstanceState:
    """Start, stop or restart it. Asking for what is so already changes nothing.

    Raises `NotAllowed` for who is neither its owner nor an operator, `Conflict` where it cannot be now.
    """
    async with ctx.begin() as tx:
        state = await _mine(tx, workspace, name, token)
        if event not in state.instance.no_news:
            after = await instances.record(tx, state.instance, event, now=ctx.clock(), reason="Asked by user.")
            state = InstanceState(instance=after, compute=state.compute)
    ctx.ring(ctx.serving)
    return state


def check_owner(token: Token, instance: Instance) -> None:
    """Its owner, and who may change every compute, may start, stop, change and delete it."""
    if token.subject != instance.owner and not may(token.role, Right.OPERATE):
        raise NotAllowed(
            f"Compute instance {instance.name} is {instance.owner}'s.",
            hint="Its owner or a compute operator can do this; make one of your own: um compute create --type "
            "computeinstance",
        )


async def _mine(tx: Tx, workspace: str, name: str, token: Token) -> InstanceState:
    """One that this token may change, and that stays."""
    state = await _find(tx, workspace, name)
    check_owner(token, state.instance)
    if state.compute.status is not ComputeStatus.SUCCEEDED:
        raise Conflict(f"Compute instance {name} is being deleted.", hint="um compute list")
    return state


async def _find(tx: Tx, workspace: str, name: str) -> InstanceState:
    compute = await computes.get(tx, workspace, name)
    found = await instances.find(tx, compute.id)
    if found is None:
        raise InvalidInput(
            f"Compute {name} is of type {compute.spec.type}, and no compute instance.",
            hint="um compute list --type computeinstance",
        )
    return InstanceState(instance=found, compute=compute)


def run_spec(
    ctx: Context, instance: Instance, spec: InstanceSpec, *, zip_sha256: str, is_elsewhere: bool
) -> dict[str, Any]:
    """What the runner needs to run it: JupyterLab in the curated environment, in the home folder that stays.

    On another machine it has a door (`services/elsewhere.py`), and its home is kept here as snapshots.
    """
    files = {
        ZIP: zip_sha256,
        CLIENT_ZIP: ctx.blobs.put(client_zip()),
        SETTINGS: ctx.blobs.put(json.dumps(_settings(ctx, instance, spec), sort_keys=True).encode()),
    }
    return {
        "argv": [
            "{{python}}",
            f"{{{{file:{ZIP}}}}}",
            *_listening(is_elsewhere),
            *("--home", "{{home}}"),
            *("--base", instance.path),
            *("--secret", f"{{{{secret:{elsewhere.SECRET}}}}}"),
            *("--settings", f"{{{{file:{SETTINGS}}}}}"),
        ],
        "code": None,
        "files": [
            *({"path": path, "sha256": sha256} for path, sha256 in files.items()),
            *inside.files(ctx, spec),
        ],
        "inputs": [],
        "outputs": [],
        "environment": {
            "workspace": assets.CURATED,
            "name": JUPYTER,
            "version": curated.load()[JUPYTER].version,
        },
        "behind": [environments.internal(CLIENT)],
        "environment_variables": {"HOME": "{{home}}"},
        "processes_per_node": 1,
        "sockets": [LAB if is_elsewhere else HTTP],
        "ports": [HTTP] if is_elsewhere else [],
        "applications": inside.applications(spec),
        "home": None if is_elsewhere else instance.id,
        "limits": {"of": f"its size {spec.size}", "hint": "Resize it: um compute resize"},
    }


def _listening(is_elsewhere: bool) -> list[str]:
    if not is_elsewhere:
        return ["--socket", f"unix:{{{{socket:{HTTP}}}}}"]
    door, tls = f"{{{{port:{HTTP}}}}}", f"{{{{secret:{elsewhere.CERTIFICATE}}}}}"
    return ["--socket", f"unix:{{{{socket:{LAB}}}}}", "--door", door, "--tls", tls]


def _settings(ctx: Context, instance: Instance, spec: InstanceSpec) -> Mapping[str, Any]:
    """What is told to the program inside, as JSON (docs/reference/instance.md)."""
    return {
        "workspace": instance.workspace,
        "name": instance.name,
        "owner": instance.owner,
        "kernels": _locks(ctx, KERNEL),
        "client": _locks(ctx, CLIENT),
        "options": ctx.site.options,
        **inside.settings(spec),
    }


def _locks(ctx: Context, name: str) -> Mapping[str, Mapping[str, str]]:
    """By Python, what the curated environment is made from."""
    one, platform = curated.load()[name], ctx.site.platform
    locks = [one.lock(python=python, platform=platform) for python in ctx.site.pythons if python in one.pythons]
    return {lock.python: {"digest": lock.digest, "lock": lock.text} for lock in locks}

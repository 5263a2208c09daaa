"""Compute instances: start, stop, restart, and what the machine of one runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ultramarine import curated
from ultramarine.domain.compute import Compute, ComputeStatus
from ultramarine.domain.errors import Conflict, InvalidInput, NotAllowed
from ultramarine.domain.identity import Right, Token, may
from ultramarine.domain.instance import Instance, InstanceEvent, InstanceSpec
from ultramarine.domain.names import ComputeId
from ultramarine.services.context import Context
from ultramarine.store import assets, computes, instances
from ultramarine.store.database import Tx

JUPYTER = "jupyter"  #: the curated environment that it runs in
ZIP, SETTINGS = "instance.zip", "settings.json"  #: its files
HTTP = "http"  #: what it listens for, in the runner's words
SECRET = "instance"  #: the file with what is to be said to it


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    instance: Instance
    compute: Compute


def new(ctx: Context, compute: Compute, spec: InstanceSpec, *, user: str) -> Instance:
    """The row beside a compute that is made."""
    now = ctx.clock()
    return Instance(
        id=compute.id,
        workspace=compute.workspace,
        name=compute.name,
        owner=user if spec.create_on_behalf_of is None else spec.create_on_behalf_of.user,
        active_at=now,
        created_at=now,
        changed_at=now,
    )


async def get(ctx: Context, workspace: str, name: str) -> InstanceState:
    async with ctx.read() as tx:
        return await _find(tx, workspace, name)


async def ask(ctx: Context, workspace: str, name: str, event: InstanceEvent, *, token: Token) -> InstanceState:
    """Start, stop or restart it. Asking for what is so already changes nothing.

    Raises `NotAllowed` for who is neither its owner nor an operator, `Conflict` where it cannot be now.
    """
    async with ctx.begin() as tx:
        state = await _find(tx, workspace, name)
        check_owner(token, state.instance)
        if state.compute.status is not ComputeStatus.SUCCEEDED:
            raise Conflict(f"Compute instance {name} is being deleted.", hint="um compute list")
        if event not in state.instance.no_news:
            after = await instances.record(tx, state.instance, event, now=ctx.clock(), reason="Asked by user.")
            state = InstanceState(instance=after, compute=state.compute)
    ctx.ring(ctx.serving)
    return state


def check_owner(token: Token, instance: Instance) -> None:
    """Its owner, and who may change every compute, may start, stop and delete it."""
    if token.subject != instance.owner and not may(token.role, Right.OPERATE):
        raise NotAllowed(
            f"Compute instance {instance.name} is {instance.owner}'s.",
            hint="Its owner or a compute operator can do this; make one of your own: um compute create --type "
            "computeinstance",
        )


async def _find(tx: Tx, workspace: str, name: str) -> InstanceState:
    compute = await computes.get(tx, workspace, name)
    found = await instances.find(tx, compute.id)
    if found is None:
        raise InvalidInput(
            f"Compute {name} is of type {compute.spec.type}, and no compute instance.",
            hint="um compute list --type computeinstance",
        )
    return InstanceState(instance=found, compute=compute)


def run_spec(ctx: Context, instance: Instance, spec: InstanceSpec, *, zip_sha256: str) -> dict[str, Any]:
    """What the runner needs to run it: JupyterLab in the curated environment, in the home folder that stays."""
    settings = ctx.blobs.put(json.dumps(_settings(instance, spec), sort_keys=True).encode())
    return {
        "argv": [
            "{{python}}",
            f"{{{{file:{ZIP}}}}}",
            *("--socket", f"unix:{{{{socket:{HTTP}}}}}"),
            *("--home", "{{home}}"),
            *("--base", instance.path),
            *("--secret", f"{{{{secret:{SECRET}}}}}"),
            *("--settings", f"{{{{file:{SETTINGS}}}}}"),
        ],
        "code": None,
        "files": [{"path": ZIP, "sha256": zip_sha256}, {"path": SETTINGS, "sha256": settings}],
        "inputs": [],
        "outputs": [],
        "environment": {
            "workspace": assets.CURATED,
            "name": JUPYTER,
            "version": curated.load()[JUPYTER].version,
        },
        "environment_variables": {"HOME": "{{home}}"},
        "processes_per_node": 1,
        "sockets": [HTTP],
        "home": instance.id,
        "limits": {"of": f"its size {spec.size}", "hint": "Resize it: um compute resize"},
    }


def _settings(instance: Instance, spec: InstanceSpec) -> Mapping[str, Any]:
    """What is told to the program inside, as JSON."""
    return {"workspace": instance.workspace, "name": instance.name, "owner": instance.owner}


def secret_of(ctx: Context, id: ComputeId) -> str:
    """What the gateway says to an instance with each request; nobody else knows it."""
    return ctx.secrets.of("instances", id)

"""Rendering what each node shall run, in the words of the runner's protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ultramarine.domain.allocation import Node
from ultramarine.domain.names import NodeKey, RunKey
from ultramarine.domain.run import ON_NODES, Master, OwnerNoun, Run
from ultramarine.planning.desired import phase
from ultramarine.services import elsewhere, environments
from ultramarine.services.context import Context
from ultramarine.services.identity import run_token
from ultramarine.store import runs
from ultramarine.store.database import Tx
from ultramarine.tracking.variables import (
    IN_JOB_ZIP,
    OWN_TOKEN,
    TOKEN_VARIABLE,
    in_job_zip,
    instance_variables,
    job_variables,
    python_path,
)


class Renderer:
    """Holds what it has rendered of runs that are on nodes.

    Specifications never change, and rendering one reads the store; the rest changes with a run's version.
    """

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._specs: dict[RunKey, dict[str, Any]] = {}
        self._rendered: dict[RunKey, tuple[int, list[dict[str, Any]]]] = {}  #: by run its version, and by rank

    async def render(
        self, tx: Tx, nodes: Sequence[Node], open_runs: Sequence[Run]
    ) -> Mapping[NodeKey, Mapping[str, Any]]:
        """By node, its runs by key."""
        placed = [run for run in open_runs if run.status in ON_NODES]
        await self._learn(tx, placed)
        self._rendered = {run.key: self._same_or_new(run) for run in placed}
        desired: dict[NodeKey, dict[str, Any]] = {node.key: {} for node in nodes}
        for run in placed:
            for node, wanted in zip(run.nodes, self._rendered[run.key][1], strict=True):
                if node in desired:
                    desired[node][run.key] = wanted
        return desired

    def _same_or_new(self, run: Run) -> tuple[int, list[dict[str, Any]]]:
        before = self._rendered.get(run.key)
        if before is not None and before[0] == run.version:
            return before
        return run.version, [self._wanted(run, rank, node) for rank, node in enumerate(run.nodes)]

    def _wanted(self, run: Run, node_rank: int, node: NodeKey) -> dict[str, Any]:
        gpus = None if run.need is None else list(run.gpu_ids.get(node, ()))
        return {
            "phase": phase(run),
            "grace_s": self._ctx.hub.patience.grace_s,
            **_meeting(run.master),
            "spec": self._specs[run.key] | {"node_rank": node_rank, "gpus": gpus},
        }

    async def _learn(self, tx: Tx, placed: Sequence[Run]) -> None:
        keys = {run.key for run in placed}
        self._specs = {key: spec for key, spec in self._specs.items() if key in keys}
        new = [run for run in placed if run.key not in self._specs]
        stored = await runs.specs(tx, [run.key for run in new]) if new else {}
        for run in new:
            self._specs[run.key] = await self._whole(tx, run, stored[run.key])

    async def _whole(self, tx: Tx, run: Run, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A run's specification with what is known only now: its environment's lock, its token, where tracking is."""
        plain = {k: v for k, v in spec.items() if k not in ("environment", "experiment", "behind", "applications")}
        variables, token = dict(plain.get("environment_variables", {})), run_token(self._ctx, run.key)
        secret, files = dict[str, str](), list[Mapping[str, str]](plain.get("files", ()))
        if run.owner_noun is OwnerNoun.JOB:
            tracking = job_variables(run_id=run.owner_id, experiment=str(spec["experiment"]))
            variables = tracking | {"AZUREML_ARM_WORKSPACE_NAME": run.workspace} | variables
            variables["PYTHONPATH"] = python_path(variables.get("PYTHONPATH"))
            secret[TOKEN_VARIABLE] = token
            files.append({"path": IN_JOB_ZIP, "sha256": self._ctx.blobs.put(in_job_zip())})
        if run.owner_noun is OwnerNoun.INSTANCE:
            variables = instance_variables(workspace=run.workspace) | variables
            secret |= {TOKEN_VARIABLE: token, OWN_TOKEN: token}
        environment = await self._environment(tx, run, spec.get("environment"))
        return plain | {
            "mode": run.mode.value,
            "workspace": run.workspace,
            "name": run.owner_name,
            "nodes": len(run.nodes),
            "environment": environment,
            "behind": [await self._behind(tx, run, each, environment) for each in spec.get("behind", ())],
            "environment_variables": variables,
            "files": files,
            "secret_variables": secret,
            "secret_files": self._secret_files(run, spec),
            "token": token,
            "checkpoint": self._checkpoint(run, spec),
            "limits": self._limits(run) | dict(spec.get("limits", {})),
        }

    def _secret_files(self, run: Run, spec: Mapping[str, Any]) -> Mapping[str, str]:
        if spec.get("ports"):
            return elsewhere.secret_files(self._ctx, run)
        if run.owner_noun is OwnerNoun.INSTANCE:
            return {elsewhere.SECRET: elsewhere.secret_of(self._ctx, run)}
        return {}

    def _checkpoint(self, run: Run, spec: Mapping[str, Any]) -> dict[str, Any] | None:
        """A folder that outlives a job's attempts, or is an instance's home on a machine that has no place for one.

        What it begins with, and how often it is kept.
        """
        is_home = run.owner_noun is OwnerNoun.INSTANCE and not spec.get("home")
        if run.owner_noun is not OwnerNoun.JOB and not is_home:
            return None
        every_s = self._ctx.site.limits.checkpoint_every_s
        return {"snapshot": run.checkpoint, "every_s": every_s, "is_home": is_home}

    def _limits(self, run: Run) -> dict[str, Any]:
        """What a run may use on each node: what it claims, or where it claims nothing the whole node."""
        limits, need = self._ctx.site.limits, run.need
        return {
            "memory_bytes": None if need is None else need.memory_bytes,
            "cpus": None if need is None else (need.cpus_milli or need.shares_milli) / 1000,
            "processes": limits.run_processes_max,
            "log_bytes": limits.run_log_bytes_max,
            "disk_bytes": limits.run_disk_bytes_max or None,
        }

    async def _behind(
        self, tx: Tx, run: Run, each: Mapping[str, Any], environment: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        found = await self._environment(tx, run, self._of_same_python(each, environment))
        return None if found is None else found | {"is_optional": each.get("is_optional", False)}

    def _of_same_python(self, named: Mapping[str, str], environment: Mapping[str, Any] | None) -> dict[str, str]:
        """What stands behind an environment is imported by its Python."""
        python = self._ctx.site.pythons[0] if environment is None else environment["python"]
        return {**named, "name": f"{named['name']}-{python}"}

    async def _environment(self, tx: Tx, run: Run, named: Mapping[str, str] | None) -> dict[str, Any] | None:
        if named is None:
            return None
        locked = (await environments.of_run(tx, run, named)).locked
        assert locked is not None, "a run is placed only when its environment is locked"
        if locked.packages == 0:
            return None  # nothing to install: the node's own Python, and no virtual environment to be made
        return {
            "digest": locked.digest,
            "python": locked.python,
            "lock": locked.lock,
            "options": self._ctx.site.options,
        }


def _meeting(master: Master | None) -> dict[str, Any]:
    if master is None:
        return {"master": None, "peers": []}
    return {"master": {"address": master.address, "port": master.port}, "peers": [asdict(p) for p in master.peers]}

"""What a client reads of each thing: the specification as it was given, and what is known besides."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ultramarine.domain.allocation import AllocationStatus
from ultramarine.domain.data import DataAsset
from ultramarine.domain.environment import Environment, Locked
from ultramarine.domain.identity import Token
from ultramarine.domain.instance import Instance
from ultramarine.domain.job import Job
from ultramarine.domain.page import Page
from ultramarine.domain.run import Ending, Run, RunStatus
from ultramarine.files.collected import CollectedFile
from ultramarine.files.logs import LogFile
from ultramarine.planning.trace import Replayed
from ultramarine.planning.why import ComputeWhy
from ultramarine.services.computes import ComputeState, NodeState, SizeState, Usage
from ultramarine.services.environments import Packages
from ultramarine.services.explanations import Explanation, Phase
from ultramarine.services.instances import InstanceWhy
from ultramarine.services.leftovers import Leftover
from ultramarine.services.models import ENVIRONMENT, JOB, TYPE, VERSION, version_of
from ultramarine.services.status import Status
from ultramarine.services.streams import Piece, Standing
from ultramarine.store.events import Happening
from ultramarine.tracking.registry import ModelVersion

View = dict[str, Any]


def at(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def job(job: Job, run: Run) -> View:
    return job.spec.body() | {
        "name": job.name,
        "id": job.id,
        "status": run.status.value,
        "reason": run.reason,
        "attempt": run.ordinal,
        "nodes": list(run.nodes),
        "user": job.user,
        "created_at": at(job.created_at),
        "started_at": at(run.started_at),
        "ended_at": at(run.ended_at),
        "checkpoint": run.checkpoint,
        "ending": None if run.ending is None else _ending(run.ending),
    }


def _ending(ending: Ending) -> View:
    return {"cause": ending.cause.value, "code": ending.code, "words": ending.words, "rank": ending.rank}


def job_row(row: Mapping[str, Any]) -> View:
    """A row of the list, straight from its columns."""
    spec = row["spec"]
    return spec | {
        "name": row["name"],
        "id": row["id"],
        "status": row["status"],
        "reason": row["reason"],
        "attempt": row["attempt"],
        "user": row["user"],
        "created_at": at(row["created_at"]),
        "started_at": at(row["started_at"]),
        "ended_at": at(row["ended_at"]),
    }


def explanation(found: Explanation) -> View:
    run, waiting = found.state.run, found.waiting
    waits: View | None = None
    if waiting is not None:
        why = {"reason": waiting.why.words or run.reason, "would_unblock": waiting.why.unblocks}
        waits = {"position": waiting.position, "queued": waiting.queued, **why}
    failed: View | None = None
    if run.status is RunStatus.FAILED and run.ending is not None:
        failed = _ending(run.ending) | {"tail": run.ending.tail}
    return {
        "name": found.state.job.name,
        "status": run.status.value,
        "reason": run.reason,
        "attempt": run.ordinal,
        "waiting": waits,
        "failed": failed,
    }


def phase(found: Phase) -> View:
    return {
        "attempt": found.attempt,
        "status": found.status,
        "began_at": found.began_at.isoformat(),
        "seconds": round(found.seconds, 3),
        "reason": found.reason,
    }


def compute_explanation(name: str, found: ComputeWhy, instance: InstanceWhy | None = None) -> View:
    first = None if found.first is None else {"name": found.first, "reason": found.first_words}
    nodes = [{"name": n.key, "status": n.status.value, "runs": list(n.runs), "reason": n.words} for n in found.nodes]
    return {
        "name": name,
        "min_instances": found.min_instances,
        "max_instances": found.max_instances,
        "waiting": {"count": found.waiting, "first": first},
        "starts": found.resting or "possible",
        "nodes": nodes,
        "instance": None if instance is None else _instance_why(instance),
    }


def _instance_why(found: InstanceWhy) -> View:
    known = found.idleness
    return {
        "state": found.state.instance.status.value,
        "reason": found.words,
        "busy_by": [] if known is None else list(known.busy_by),
        "stops_at": None if known is None else at(known.stops_at),
        "why": "" if known is None else known.why,
        "next": None if found.next is None else {"action": found.next.action, "at": at(found.next.at)},
    }


def happening(happening: Happening) -> View:
    h = happening
    return {
        "seq": h.seq,
        "noun": h.noun,
        "id": h.id,
        "name": h.name,
        "event": h.event,
        "status": h.status,
        "reason": h.reason,
        "at": at(h.at),
    }


def news(news: Standing | Piece | Happening) -> View:
    """What a stream tells."""
    return happening(news) if isinstance(news, Happening) else asdict(news)


def log(found: tuple[Run, LogFile]) -> View:
    run, log = found
    return {"attempt": run.ordinal, "rank": log.place.rank, "file": log.place.file, "size": log.size}


def collected(file: CollectedFile) -> View:
    return {"collection": file.collection, "path": file.path, "size": file.size}


def compute(state: ComputeState) -> View:
    c = state.compute
    busy = sum(1 for a in state.allocations if state.runs_on(a))
    up = sum(1 for a in state.allocations if a.status is AllocationStatus.UP)
    return c.spec.body() | {
        "type": c.spec.type,
        "name": c.name,
        "provisioning_state": c.status.value,
        "state": c.status.value if state.instance is None or c.is_going else state.instance.status.value,
        "reason": c.reason,
        "size_used": c.size_name,
        "cpus": c.size.cpus_milli / 1000,
        "memory_bytes": c.size.memory_bytes,
        "gpus": c.size.gpus,
        "targets": c.targets,
        "instance": None if state.instance is None else instance(state.instance, state),
        "nodes": {
            "total": len(state.allocations),
            "busy": busy,
            "idle": up - min(busy, up),
            "starting": len(state.allocations) - up,
        },
        "limits": sorted({by for a in state.allocations if (by := state.limits_by(a))}),
        "notice": state.notice,
        "created_at": at(c.created_at),
    }


def instance(found: Instance, of: ComputeState) -> View:
    idleness = of.idleness
    return {
        "state": found.status.value,
        "reason": of.instance_words,
        "owner": found.owner,
        "path": found.path,
        "active_at": at(found.active_at),
        "awake_until": at(found.awake_until),
        "busy_by": [] if idleness is None else list(idleness.busy_by),
        "stops_at": None if idleness is None else at(idleness.stops_at),
    }


def node(state: NodeState) -> View:
    allocation = state.allocation
    return {
        "name": allocation.node,
        "status": allocation.status.value,
        "reason": allocation.reason,
        "runs": [run.owner_name for run in state.runs],
        "since": at(allocation.changed_at),
        "limits": state.limits,
        "load": dict(state.load),
    }


def size(size: SizeState) -> View:
    a = size.amount
    return {
        "name": size.name,
        "cpus": a.cpus_milli / 1000,
        "memory_bytes": a.memory_bytes,
        "gpus": a.gpus,
        "fits": size.fits,
        "aliases": size.aliases,
    }


def leftover(one: Leftover) -> View:
    return {"pool": one.pool, "key": one.key, "words": one.words}


def usage(usage: Usage) -> View:
    return {"host": usage.host, "name": usage.of, "current_value": usage.taken, "limit": usage.total}


def environment(environment: Environment) -> View:
    e = environment
    return (
        e.spec.body()
        | {
            "name": e.name,
            "version": e.version,
            "status": e.status.value,
            "reason": e.reason,
            "is_curated": e.is_curated,
            "created_at": at(e.created_at),
        }
        | ({} if e.locked is None else _locked(e.locked))
    )


def _locked(locked: Locked) -> View:
    """The CPU's; where there is a lock for each accelerator, they follow by name."""
    view: View = {"digest": locked.digest, "python": locked.python, "packages": locked.packages}
    if locked.others:
        each = locked.by_accelerator.items()
        view["accelerators"] = {name.value: {"digest": one.digest, "packages": one.packages} for name, one in each}
    return view


def lock(packages: Packages) -> View:
    found = packages.lock
    return {
        "name": packages.name,
        "version": packages.version,
        "digest": found.digest,
        "python": found.python,
        "platform": found.platform,
        "accelerator": found.accelerator.value,
        "accelerators": [each.value for each in packages.accelerators],
        "packages": [{"name": name, "version": version} for name, version in found.packages],
        "warnings": found.warnings,
        "lock": found.text,
    }


def data(data: DataAsset) -> View:
    more = {
        "version": data.version,
        "snapshot": data.snapshot,
        "size_bytes": data.size_bytes,
        "created_at": at(data.created_at),
    }
    return data.spec.body() | {"name": data.name, "type": data.spec.type} | more


def model(model: ModelVersion) -> View:
    ours = (TYPE, ENVIRONMENT, VERSION, JOB)
    return {
        "name": model.name,
        "version": version_of(model),
        "type": model.tags.get(TYPE, "mlflow_model"),
        "description": model.description,
        "tags": {name: value for name, value in model.tags.items() if name not in ours},
        "path": model.location.uri,
        "job_name": model.tags.get(JOB),
        "created_at": datetime.fromtimestamp(model.created_at_ms / 1000, UTC).isoformat(),
    }


def token(token: Token) -> View:
    return {
        "id": token.id,
        "subject": token.subject,
        "workspace": token.workspace,
        "role": token.role.value,
        "created_at": at(token.created_at),
        "expires_at": at(token.expires_at),
        "revoked_at": at(token.revoked_at),
    }


def workspace(row: Mapping[str, Any]) -> View:
    return {
        "name": row["name"],
        "description": row["description"],
        "tags": row["tags"],
        "quota": row["quota"],
        "provisioning_state": "Succeeded" if row["is_usable"] else "Deleting",
        "created_at": at(row["created_at"]),
    }


def status(found: Status) -> View:
    return {
        "workspaces": list(found.workspaces),
        "machines": found.machines,
        "allocations": [
            {"key": a.key, "compute": a.compute_name, "status": a.status.value} for a in found.state.allocations
        ],
        "runs": [
            {
                "workspace": run.workspace,
                "noun": run.owner_noun.value,
                "name": run.owner_name,
                "status": run.status.value,
            }
            for run in found.state.runs
        ],
    }


def replayed(found: Replayed) -> View:
    view: View = {"at": at(found.now), "decided": list(found.decided), "is_same": found.is_same}
    return view if found.is_same else view | {"again": list(found.again)}


def listed(page: Page[View]) -> View:
    return {"value": page.rows, "next": page.next}

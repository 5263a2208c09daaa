"""What a client reads of each thing: the specification as it was given, and what is known besides."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import inf
from typing import Any

from ultramarine.domain.allocation import AllocationStatus
from ultramarine.domain.data import DataAsset
from ultramarine.domain.environment import Environment
from ultramarine.domain.identity import Token
from ultramarine.domain.job import Job
from ultramarine.domain.page import Page
from ultramarine.domain.run import Ending, Run, RunStatus
from ultramarine.files.collected import CollectedFile
from ultramarine.files.logs import LogFile
from ultramarine.planning.trace import Replayed
from ultramarine.planning.traffic import Traffic
from ultramarine.planning.why import ComputeWhy
from ultramarine.services.computes import ComputeState, NodeState, SizeState, Usage
from ultramarine.services.deployments import DeploymentState
from ultramarine.services.endpoint_tokens import EndpointToken
from ultramarine.services.endpoints import EndpointState
from ultramarine.services.explanations import Explanation, Phase
from ultramarine.services.leftovers import Leftover
from ultramarine.services.models import ENVIRONMENT, JOB, TYPE, VERSION, version_of
from ultramarine.services.rollouts import RolloutState
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


def compute_explanation(name: str, found: ComputeWhy) -> View:
    first = None if found.first is None else {"name": found.first, "reason": found.first_words}
    nodes = [{"name": n.key, "status": n.status.value, "runs": list(n.runs), "reason": n.words} for n in found.nodes]
    return {
        "name": name,
        "min_instances": found.min_instances,
        "max_instances": found.max_instances,
        "waiting": {"count": found.waiting, "first": first},
        "starts": found.resting or "possible",
        "nodes": nodes,
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
        "reason": c.reason,
        "size_used": c.size_name,
        "cpus": c.size.cpus_milli / 1000,
        "memory_bytes": c.size.memory_bytes,
        "gpus": c.size.gpus,
        "targets": c.targets,
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
    locked = {"digest": e.locked.digest, "python": e.locked.python, "packages": e.locked.packages} if e.locked else {}
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
        | locked
    )


def data(data: DataAsset) -> View:
    more = {
        "version": data.version,
        "snapshot": data.snapshot,
        "size_bytes": data.size_bytes,
        "created_at": at(data.created_at),
    }
    return data.spec.body() | {"name": data.name, "type": data.spec.type} | more


def endpoint(state: EndpointState, address: str) -> View:
    e = state.endpoint
    return e.spec.body() | {
        "name": e.name,
        "auth_mode": e.spec.auth_mode,
        "traffic": e.spec.traffic,
        "mirror_traffic": e.spec.mirror_traffic,
        "provisioning_state": "Succeeded",
        "scoring_uri": f"{address}/endpoints/{e.workspace}/{e.name}/score",
        "deployments": [d.name for d in state.deployments],
        "requests": {name: _requests(traffic) for name, traffic in state.traffic.items()},
        "created_at": at(e.created_at),
    }


def rollout(state: RolloutState) -> View:
    r = state.rollout
    return {
        "endpoint_name": r.endpoint,
        "deployment_name": r.deployment,
        "status": r.status.value,
        "reason": state.waits or r.reason,
        "steps": r.spec.shares,
        "step": r.step,
        "hold": r.spec.hold,
        "min_requests": r.spec.min_requests,
        "pause_on": r.spec.pause_on,
        "traffic_before": r.before,
        "created_at": at(r.created_at),
        "changed_at": at(r.changed_at),
    }


def credentials(given: tuple[str, str] | EndpointToken) -> View:
    """In Azure's words: two keys, or a token and until when it is good."""
    if isinstance(given, EndpointToken):
        return {
            "accessToken": given.token,
            "tokenType": "Bearer",
            "expiryTimeUtc": int(given.expires_at.timestamp()),
            "refreshAfterTimeUtc": int(given.refresh_at.timestamp()),
        }
    primary, secondary = given
    return {"primaryKey": primary, "secondaryKey": secondary}


def deployment(state: DeploymentState) -> View:
    d = state.deployment
    model = d.serving.get("model", {})
    return d.spec.body() | {
        "name": d.name,
        "endpoint_name": d.endpoint,
        "instance_count": d.wanted,
        "provisioning_state": d.status.value,
        "reason": d.reason,
        "model_used": f"{model['name']}:{model['version']}" if model else None,
        "scaling": state.scaling,
        "requests": None if state.traffic is None else _requests(state.traffic),
        "replicas": [_replica(run, state) for run in state.replicas],
        "failures": [{"run": run.key, "at": at(run.changed_at), "reason": run.reason} for run in state.failed],
        "created_at": at(d.created_at),
    }


def _requests(traffic: Traffic) -> View:
    """Now, and since the control plane has begun to count; `/metrics` has more."""
    p50, p99 = (traffic.seconds.quantile(share) for share in (0.5, 0.99))
    return {
        "in_flight": traffic.in_flight,
        "queued": traffic.queued,
        "held": traffic.held,
        "answered": sum(traffic.answers.values()),
        "answers": dict(traffic.answers),
        "p50_s": None if p50 == inf else p50,
        "p99_s": None if p99 == inf else p99,
    }


def _replica(run: Run, state: DeploymentState) -> View:
    reach, leaving_since = state.reached.get(run.key), state.leaving.get(run.key)
    why = f"The gateway cannot reach it: {reach.why}." if reach is not None and reach.why else ""
    why = state.unwell.get(run.key, why)
    if leaving_since is not None:
        why = f"It is not wanted any more, and gets no more requests since {at(leaving_since)}."
    return {
        "run": run.key,
        "status": run.status.value,
        "reason": run.reason,
        "node": run.nodes[0] if run.nodes else None,
        "answers": reach is not None and reach.is_up,
        "why": why,
    }


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

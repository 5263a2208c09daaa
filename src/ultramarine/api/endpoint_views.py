"""What a client reads of endpoints, deployments and rollouts."""

from collections.abc import Sequence
from dataclasses import asdict
from math import inf

from ultramarine.api.views import View, at
from ultramarine.domain.run import Run
from ultramarine.planning.lately import Lately
from ultramarine.planning.traffic import Traffic
from ultramarine.services.deployments import DeploymentState
from ultramarine.services.endpoint_tokens import EndpointToken
from ultramarine.services.endpoints import EndpointState
from ultramarine.services.rollouts import RolloutState


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
        "requests": {name: _requests(traffic, state.lately.get(name)) for name, traffic in state.traffic.items()},
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
        "requests": None if state.traffic is None else _requests(state.traffic, state.lately),
        "replicas": [_replica(run, state) for run in state.replicas],
        "failures": [{"run": run.key, "at": at(run.changed_at), "reason": run.reason} for run in state.failed],
        "created_at": at(d.created_at),
    }


def _requests(traffic: Traffic, lately: Lately | None) -> View:
    """Now, in the last minute, and since the control plane has begun to count; `/metrics` has more."""
    return {
        "in_flight": traffic.in_flight,
        "queued": traffic.queued,
        "held": traffic.held,
        "last_minute": None if lately is None else _lately(lately),
        "answered": sum(traffic.answers.values()),
        "answers": dict(traffic.answers),
        **_quantiles(traffic, ("p50", "p99")),
    }


def _lately(lately: Lately) -> View:
    counted = lately.counted
    return {
        "seconds": round(lately.seconds, 1),
        "per_s": round(lately.per_s, 2),
        "errors": counted.errors,
        "refused": counted.answers.get("429", 0),
        **_quantiles(counted, ("p50", "p90", "p99")),
    }


def _quantiles(traffic: Traffic, names: Sequence[str]) -> View:
    found = {f"{name}_s": traffic.seconds.quantile(int(name[1:]) / 100) for name in names}
    return {name: None if seconds == inf else seconds for name, seconds in found.items()}


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
        "load": None if (load := state.loads.get(run.key)) is None else asdict(load),
        "usage": state.uses.get(run.key),
    }

"""The gateway's route table as a function of what is stored. Its format: docs/reference/route-table.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ultramarine.domain.endpoint import Deployment, DeploymentStatus, Endpoint
from ultramarine.domain.run import Run, RunStatus

FORMAT = 2
IN_USE = frozenset(
    {RunStatus.RUNNING, RunStatus.NOT_RESPONDING}
)  #: a silent one may still answer: the gateway's own probe tells
BODY_BYTES_MAX = 100 * 1024**2
QUEUE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Where the parts of this installation listen (`unix:PATH`)."""

    control: str
    mlflow: str


def render(
    upstreams: Upstreams, endpoints: Sequence[Endpoint], deployments: Sequence[Deployment], *, replicas: Sequence[Run]
) -> dict[str, Any]:
    """Everything but the version, which the publisher counts."""
    return {
        "format": FORMAT,
        "sites": _sites(upstreams),
        "authorizer": upstreams.control,
        "endpoints": {f"{e.workspace}/{e.name}": _endpoint(e, deployments, replicas) for e in endpoints},
        "access_log": None,
    }


def _sites(upstreams: Upstreams) -> list[dict[str, Any]]:
    control = {"listener": "api", "upstream": upstreams.control, "authorize": "none", "hold_s": 10}
    mlflow = {
        "prefix": "/mlflow/",
        "upstream": upstreams.mlflow,
        "hold_s": 30,
        "workspace_header": "x-mlflow-workspace",
        "run_header": "x-ultramarine-run",
        "reach_header": "x-ultramarine-reach",
        "right_header": "x-ultramarine-right",
    }
    allowed = ["/mlflow/api/2.0/mlflow/", "/mlflow/api/3.0/mlflow/", "/mlflow/api/2.0/mlflow-artifacts/"]
    return [
        control | {"prefix": "/api/"},
        control | {"prefix": "/runner/"},
        control | {"prefix": "/metrics/"},
        mlflow | {"listener": "api", "authorize": "workspace", "allow": allowed},
        mlflow | {"listener": "second", "authorize": "cookie"},
    ]


def _endpoint(endpoint: Endpoint, deployments: Sequence[Deployment], replicas: Sequence[Run]) -> dict[str, Any]:
    behind = [
        d
        for d in deployments
        if (d.workspace, d.endpoint) == (endpoint.workspace, endpoint.name)
        and d.status is not DeploymentStatus.DELETING
    ]
    names = {d.name for d in behind}
    return {
        "keys_sha256": list(endpoint.keys_sha256),
        "auth_mode": endpoint.spec.auth_mode,
        "traffic": {name: share for name, share in endpoint.spec.traffic.items() if name in names},
        "mirror": {name: share for name, share in endpoint.spec.mirror_traffic.items() if name in names},
        "body_max_bytes": BODY_BYTES_MAX,
        "deployments": {d.name: _deployment(d, replicas) for d in behind},
    }


def _deployment(deployment: Deployment, replicas: Sequence[Run]) -> dict[str, Any]:
    here = [r for r in replicas if r.owner_id == deployment.id and r.status in IN_USE and "http" in r.sockets]
    settings = deployment.spec.request_settings
    return {
        "max_concurrent": settings.max_concurrent_requests_per_instance,
        "request_timeout_s": settings.request_timeout_ms / 1000,
        "queue_max": QUEUE_MAX,
        "queue_wait_s": settings.max_queue_wait_ms / 1000,
        "hold_s": deployment.spec.hold_s,
        "idempotent": settings.idempotent,
        "replicas": [
            {"id": r.key, "address": r.sockets["http"], "probe": "/health/ready", "path": "/score"} for r in here
        ],
    }


def moving(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table without its version: whether it says anything new."""
    return {name: value for name, value in table.items() if name != "version"}

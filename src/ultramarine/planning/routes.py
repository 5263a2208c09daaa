"""The gateway's route table as a function of what is stored. Its format: docs/reference/route-table.md."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ultramarine.domain.endpoint import Deployment, DeploymentStatus, Endpoint
from ultramarine.domain.instance import Instance
from ultramarine.domain.names import RunKey
from ultramarine.domain.run import OwnerNoun, Run, RunStatus

FORMAT = 3
IN_USE = frozenset(
    {RunStatus.RUNNING, RunStatus.NOT_RESPONDING}
)  #: a silent one may still answer: the gateway's own probe tells
UNIX = "unix:"
JUPYTERLAB = "jupyterlab:0"  #: as an instance's door knows it
_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
REACH_HEADER = "x-ultramarine-reach"
BODY_BYTES_MAX = 100 * 1024**2
QUEUE_MAX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Where the parts of this installation listen (`unix:PATH`)."""

    control: str
    mlflow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How replicas and instances on other machines are known, and know who may ask.

    `ca`: PEM of what has signed their certificates; `secrets`: by id, of the deployments and instances that are there.
    """

    ca: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something of ours answers: `unix:PATH`, or `HOST:PORT` by TLS.

    There `name` is what the certificate of the other end is for, by `ca`, and `secret` is what is to be said; `behind`
    is the program that its door is to be asked for.
    """

    address: str
    name: str = ""
    ca: str = ""
    secret: str = field(default="", repr=False)
    behind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrances:
    """Compute instances that somebody may be in, and how the gateway knows them.

    `runs`: the oldest first. `applications`: by run, the ports of what is started beside JupyterLab, by name.
    `secrets`: by run, what their programs want to be told. `hosts`: the names and addresses by which others reach this
    machine; those of its own need not be said.
    """

    instances: Sequence[Instance] = ()
    runs: Sequence[Run] = ()
    applications: Mapping[RunKey, Mapping[str, int]] = field(default_factory=dict[RunKey, "Mapping[str, int]"])
    secrets: Mapping[RunKey, str] = field(default_factory=dict[RunKey, str], repr=False)
    hosts: Sequence[str] = ()


NOBODY = Entrances()


def place_of(run: Run, trust: Trust) -> Place | None:
    """Where a replica or an instance's JupyterLab answers. None where it does not say so, or says what cannot be.

    A node is not to be believed all: one that is elsewhere has no socket of this machine's to name, and one here needs
    no port.
    """
    address, secret = run.sockets.get("http", ""), trust.secrets.get(run.owner_id)
    if secret is None:
        return Place(address=address) if address.startswith(UNIX) else None
    if not _PORT.fullmatch(address) or int(address.rpartition(":")[2]) > 65535:
        return None
    behind = JUPYTERLAB if run.owner_noun is OwnerNoun.INSTANCE else ""
    return Place(address=address, name=run.key, ca=trust.ca, secret=secret, behind=behind)


def render(
    upstreams: Upstreams,
    endpoints: Sequence[Endpoint],
    deployments: Sequence[Deployment],
    *,
    replicas: Sequence[Run],
    trust: Trust,
    entrances: Entrances = NOBODY,
) -> dict[str, Any]:
    """Everything but the version, which the publisher counts."""
    behind: dict[str, list[dict[str, Any]]] = {d.id: [] for d in deployments}
    for replica in replicas:
        place = place_of(replica, trust)
        if place is not None and replica.status in IN_USE and replica.owner_id in behind:
            behind[replica.owner_id].append(_replica(replica, place))
    return {
        "format": FORMAT,
        "sites": _sites(upstreams),
        "authorizer": upstreams.control,
        "endpoints": {f"{e.workspace}/{e.name}": _endpoint(e, deployments, behind) for e in endpoints},
        "instances": _instances(entrances, trust),
        "hosts": list(entrances.hosts),
        "ca": trust.ca or None,
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
        "reach_header": REACH_HEADER,
        "right_header": "x-ultramarine-right",
    }
    allowed = ["/mlflow/api/2.0/mlflow/", "/mlflow/api/3.0/mlflow/", "/mlflow/api/2.0/mlflow-artifacts/"]
    return [
        control | {"prefix": "/api/"},
        control | {"prefix": "/runner/"},
        control | {"prefix": "/metrics/"},
        mlflow | {"listener": "api", "authorize": "workspace", "allow": allowed},
        mlflow | {"listener": "second", "authorize": "cookie"},
        control | {"listener": "second", "prefix": "/pages/", "authorize": "cookie", "reach_header": REACH_HEADER},
    ]


def _instances(entrances: Entrances, trust: Trust) -> dict[str, Any]:
    """Those whose run is in use, by the newest one, with the applications that it was started with."""
    newest = {
        run.owner_id: (run, place)
        for run in entrances.runs
        if run.status in IN_USE and (place := place_of(run, trust)) is not None
    }
    return {
        f"{each.workspace}/{each.name}": _instance(each, *newest[each.id], entrances=entrances)
        for each in entrances.instances
        if each.id in newest
    }


def _instance(instance: Instance, run: Run, place: Place, *, entrances: Entrances) -> dict[str, Any]:
    plain = {
        "id": instance.id,
        "address": place.address,
        "base": instance.path,
        "secret": entrances.secrets[run.key],
        "applications": dict(entrances.applications.get(run.key, {})),
    }
    return plain if not place.name else plain | {"tls": _tls(place)}


def _endpoint(
    endpoint: Endpoint, deployments: Sequence[Deployment], replicas: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """`replicas`: by id of their deployment."""
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
        "deployments": {d.name: _deployment(d, replicas[d.id]) for d in behind},
    }


def _deployment(deployment: Deployment, replicas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    settings = deployment.spec.request_settings
    return {
        "max_concurrent": settings.max_concurrent_requests_per_instance,
        "request_timeout_s": settings.request_timeout_ms / 1000,
        "queue_max": QUEUE_MAX,
        "queue_wait_s": settings.max_queue_wait_ms / 1000,
        "hold_s": deployment.spec.hold_s,
        "idempotent": settings.idempotent,
        "replicas": replicas,
    }


def _replica(replica: Run, place: Place) -> dict[str, Any]:
    plain = {"id": replica.key, "address": place.address, "probe": "/health/ready", "path": "/score"}
    return plain if not place.name else plain | {"tls": _tls(place)}


def _tls(place: Place) -> dict[str, str]:
    return {"name": place.name, "secret": place.secret}


def moving(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table without its version: whether it says anything new."""
    return {name: value for name, value in table.items() if name != "version"}

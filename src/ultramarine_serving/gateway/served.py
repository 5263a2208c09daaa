"""Endpoints of the route table as frozen data, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ultramarine_serving.gateway.elsewhere import expected_of
from ultramarine_serving.gateway.fields import TOKEN, BadFile, Fields
from ultramarine_serving.http.address import Address
from ultramarine_serving.http.tls import Expected

AUTH_MODES = ("key", "aml_token")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENDPOINT = re.compile(r"[^/]+/[^/]+")


@dataclass(frozen=True)
class Replica:
    """One scoring server."""

    id: str
    address: Address
    probe: str = "/"
    path: str = "/score"
    expected: Expected | None = None  #: of one on another machine


@dataclass(frozen=True)
class Deployment:
    """Replicas that are alike, and how long a request may wait for one of them."""

    max_concurrent: int  #: requests in flight at each replica, of all workers together
    request_timeout_s: float
    queue_max: int
    queue_wait_s: float
    hold_s: float  #: above 0: it may have no replica at all, and a request waits so long for the first
    idempotent: bool  #: a request that was sent may be sent again elsewhere
    replicas: tuple[Replica, ...]


@dataclass(frozen=True)
class Endpoint:
    """What a client calls: who may, and shares of the traffic."""

    keys_sha256: tuple[bytes, ...]
    auth_mode: str
    traffic: Mapping[str, int]  #: deployment: weight, none of them 0
    mirror: Mapping[str, int]  #: deployment: percent of the requests that it gets a copy of, none of them 0
    body_max_bytes: int
    deployments: Mapping[str, Deployment]


def endpoint_of(name: str, value: object, *, ca: str | None) -> Endpoint:
    """Read one endpoint of a table; `ca`: PEM of what has signed for replicas on other machines. Raises BadFile."""
    where = f"endpoints[{name!r}]"
    if not _ENDPOINT.fullmatch(name):
        raise BadFile(f"{where}: an endpoint is named workspace/endpoint.")
    fields = Fields(value, where)
    mode = fields.text("auth_mode", "key")
    if mode not in AUTH_MODES:
        raise fields.bad("auth_mode", mode, f"one of {', '.join(AUTH_MODES)}")
    keys = fields.texts("keys_sha256")
    for key in keys:
        if not _SHA256.fullmatch(key):
            raise BadFile(f"{where}.keys_sha256 must hold SHA-256 sums in 64 lower-case hexadecimal digits.")
    deployments = {
        each: _deployment(each, given, where, ca=ca) for each, given in fields.mapping("deployments", {}).items()
    }
    mirror = _shares(fields, "mirror", where, deployments)
    if any(share > 100 for share in mirror.values()):
        raise fields.bad("mirror", dict(mirror), "at most 100 percent for each deployment")
    endpoint = Endpoint(
        keys_sha256=tuple(bytes.fromhex(key) for key in keys),
        auth_mode=mode,
        traffic=_shares(fields, "traffic", where, deployments),
        mirror=mirror,
        body_max_bytes=fields.whole("body_max_bytes", 10_485_760),
        deployments=MappingProxyType(deployments),
    )
    fields.done()
    return endpoint


def _shares(fields: Fields, name: str, where: str, deployments: Mapping[str, Deployment]) -> Mapping[str, int]:
    """By deployment, in the table's order; none of them 0."""
    given = Fields(fields.mapping(name, {}), f"{where}.{name}")
    shares = {each: given.whole(each, 0) for each in deployments}
    given.done()
    return MappingProxyType({each: share for each, share in shares.items() if share > 0})


def _deployment(name: str, value: object, where: str, *, ca: str | None) -> Deployment:
    where = f"{where}.deployments[{name!r}]"
    if not TOKEN.fullmatch(name):
        raise BadFile(f"{where}: this is no name of a deployment.")
    fields = Fields(value, where)
    given = enumerate(fields.items("replicas", []))
    replicas = tuple(_replica(each, f"{where}.replicas[{i}]", ca=ca) for i, each in given)
    deployment = Deployment(
        max_concurrent=fields.whole("max_concurrent", 1, least=1),
        request_timeout_s=fields.number("request_timeout_s", 5.0, least=0.001),
        queue_max=fields.whole("queue_max", 64),
        queue_wait_s=fields.number("queue_wait_s", 0.5),
        hold_s=fields.number("hold_s", 0.0),
        idempotent=fields.flag("idempotent", default=False),
        replicas=replicas,
    )
    fields.done()
    if len({replica.id for replica in replicas}) != len(replicas):
        raise BadFile(f"{where}.replicas must have different ids.")
    return deployment


def _replica(value: object, where: str, *, ca: str | None) -> Replica:
    fields = Fields(value, where)
    tls = fields.mapping("tls", {})
    replica = Replica(
        expected=expected_of(tls, f"{where}.tls", ca=ca) if tls else None,
        id=fields.text("id"),
        address=fields.address("address"),
        probe=fields.text("probe", "/"),
        path=fields.text("path", "/score"),
    )
    fields.done()
    for name, path in (("probe", replica.probe), ("path", replica.path)):
        if not re.fullmatch(r"/[!-~]*", path):
            raise fields.bad(name, path, "a path that begins with /")
    return replica

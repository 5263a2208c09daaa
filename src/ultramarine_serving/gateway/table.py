"""The route table as frozen data. `parse` takes all of it or refuses all of it (docs/reference/route-table.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ultramarine_serving.gateway.fields import BadFile, Fields, read_json
from ultramarine_serving.http.address import Address

FORMAT = 1
AUTHORIZE = ("none", "workspace", "cookie")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ENDPOINT = re.compile(r"[^/]+/[^/]+")


@dataclass(frozen=True)
class Site:
    """A prefix of paths on one listener, and who answers it."""

    listener: str
    prefix: str
    upstream: Address
    authorize: str = "none"
    hold_s: float = 10.0  #: how long a request waits for an upstream that takes no connections
    workspace_header: str = ""  #: set to the workspace that the caller wants and may use; empty: none
    run_header: str = ""  #: set to the run whose own token it is, if it is one
    reach_header: str = ""  #: set to the caller's one workspace, or * where it may use all
    right_header: str = ""  #: set to what the caller may do there: read, or work
    allow: tuple[str, ...] = ()  #: path prefixes that are forwarded; empty: all

    @property
    def told_headers(self) -> frozenset[bytes]:
        """The headers by which we say who asks: nobody else may."""
        named = (self.workspace_header, self.run_header, self.reach_header, self.right_header)
        return frozenset(header.encode() for header in named if header)


@dataclass(frozen=True)
class Replica:
    """One scoring server."""

    id: str
    address: Address
    probe: str = "/"
    path: str = "/score"


@dataclass(frozen=True)
class Deployment:
    """Replicas that are alike."""

    max_concurrent: int  #: requests in flight at each replica, of all workers together
    replicas: tuple[Replica, ...]


@dataclass(frozen=True)
class Endpoint:
    """What a client calls: keys, shares of the traffic, limits."""

    keys_sha256: tuple[bytes, ...]
    traffic: Mapping[str, int]  #: deployment: weight, none of them 0
    request_timeout_s: float
    queue_max: int
    queue_wait_s: float
    body_max_bytes: int
    deployments: Mapping[str, Deployment]


@dataclass(frozen=True)
class Table:
    """A whole snapshot."""

    version: int
    sites: tuple[Site, ...]  #: longest prefix first
    authorizer: Address | None
    endpoints: Mapping[str, Endpoint]  #: by `workspace/endpoint`
    access_log: str | None

    def site(self, listener: str, path: str) -> Site | None:
        """The site with the longest prefix of `path`; `/mlflow` too belongs to `/mlflow/`."""
        for site in self.sites:
            if site.listener == listener and (path.startswith(site.prefix) or path + "/" == site.prefix):
                return site
        return None


EMPTY = Table(version=0, sites=(), authorizer=None, endpoints=MappingProxyType({}), access_log=None)


def parse(data: bytes) -> Table:
    """Read a route table. Raises BadFile."""
    fields = Fields(read_json(data, "The route table"), "table")
    format_seen = fields.whole("format")
    if format_seen != FORMAT:
        raise BadFile(
            f"table.format is {format_seen}; this gateway reads {FORMAT}. Use a control plane of its release."
        )
    version = fields.whole("version")
    sites = [_site(value, f"sites[{i}]") for i, value in enumerate(fields.items("sites", []))]
    authorizer = fields.optional_text("authorizer")
    if authorizer is None and any(site.authorize != "none" for site in sites):
        raise BadFile("table.authorizer must be given: a site asks for authorization.")
    endpoints = {name: _endpoint(name, value) for name, value in fields.mapping("endpoints", {}).items()}
    access_log = fields.optional_text("access_log")
    fields.done()
    return Table(
        version=version,
        sites=tuple(sorted(sites, key=lambda site: -len(site.prefix))),
        authorizer=None if authorizer is None else _address(authorizer, "table.authorizer"),
        endpoints=MappingProxyType(endpoints),
        access_log=access_log,
    )


def _address(text: str, where: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise BadFile(f"{where}: {error}") from None


def _site(value: object, where: str) -> Site:
    fields = Fields(value, where)
    site = Site(
        listener=fields.text("listener"),
        prefix=fields.text("prefix"),
        upstream=_address(fields.text("upstream"), f"{where}.upstream"),
        authorize=fields.text("authorize"),
        hold_s=fields.number("hold_s", 10.0),
        workspace_header=fields.text("workspace_header", "").lower(),
        run_header=fields.text("run_header", "").lower(),
        reach_header=fields.text("reach_header", "").lower(),
        right_header=fields.text("right_header", "").lower(),
        allow=fields.texts("allow", []),
    )
    fields.done()
    if not (site.prefix.startswith("/") and site.prefix.endswith("/")):
        raise fields.bad("prefix", site.prefix, "a path that begins and ends with /")
    if site.prefix.startswith(("/internal/", "/endpoints/")):
        raise fields.bad("prefix", site.prefix, "none of the gateway's own paths")
    if site.authorize not in AUTHORIZE:
        raise fields.bad("authorize", site.authorize, f"one of {', '.join(AUTHORIZE)}")
    for field in ("workspace_header", "run_header", "reach_header", "right_header"):
        if (header := getattr(site, field)) and not _TOKEN.fullmatch(header):
            raise fields.bad(field, header, "a header name")
    for each in site.allow:
        if not each.startswith(site.prefix):
            raise fields.bad("allow", each, f"a list of paths under {site.prefix}")
    return site


def _endpoint(name: str, value: object) -> Endpoint:
    where = f"endpoints[{name!r}]"
    if not _ENDPOINT.fullmatch(name):
        raise BadFile(f"{where}: an endpoint is named workspace/endpoint.")
    fields = Fields(value, where)
    mode = fields.text("auth_mode", "key")
    if mode != "key":
        raise fields.bad("auth_mode", mode, "key")
    keys = fields.texts("keys_sha256")
    for key in keys:
        if not _SHA256.fullmatch(key):
            raise BadFile(f"{where}.keys_sha256 must hold SHA-256 sums in 64 lower-case hexadecimal digits.")
    deployments = {each: _deployment(each, given, where) for each, given in fields.mapping("deployments", {}).items()}
    weights = Fields(fields.mapping("traffic", {}), f"{where}.traffic")
    traffic = {each: weights.whole(each, 0) for each in deployments}
    weights.done()
    endpoint = Endpoint(
        keys_sha256=tuple(bytes.fromhex(key) for key in keys),
        traffic=MappingProxyType({each: weight for each, weight in traffic.items() if weight > 0}),
        request_timeout_s=fields.number("request_timeout_s", 5.0, least=0.001),
        queue_max=fields.whole("queue_max", 64),
        queue_wait_s=fields.number("queue_wait_s", 0.5),
        body_max_bytes=fields.whole("body_max_bytes", 10_485_760),
        deployments=MappingProxyType(deployments),
    )
    fields.done()
    return endpoint


def _deployment(name: str, value: object, where: str) -> Deployment:
    where = f"{where}.deployments[{name!r}]"
    if not _TOKEN.fullmatch(name):
        raise BadFile(f"{where}: this is no name of a deployment.")
    fields = Fields(value, where)
    replicas = tuple(_replica(each, f"{where}.replicas[{i}]") for i, each in enumerate(fields.items("replicas", [])))
    deployment = Deployment(max_concurrent=fields.whole("max_concurrent", 1, least=1), replicas=replicas)
    fields.done()
    if len({replica.id for replica in replicas}) != len(replicas):
        raise BadFile(f"{where}.replicas must have different ids.")
    return deployment


def _replica(value: object, where: str) -> Replica:
    fields = Fields(value, where)
    replica = Replica(
        id=fields.text("id"),
        address=_address(fields.text("address"), f"{where}.address"),
        probe=fields.text("probe", "/"),
        path=fields.text("path", "/score"),
    )
    fields.done()
    for name, path in (("probe", replica.probe), ("path", replica.path)):
        if not re.fullmatch(r"/[!-~]*", path):
            raise fields.bad(name, path, "a path that begins with /")
    return replica

"""The route table as frozen data. `parse` takes all of it or refuses all of it (docs/reference/route-table.md)."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ultramarine_serving.gateway import hosts
from ultramarine_serving.gateway.fields import TOKEN, BadFile, Fields, read_json
from ultramarine_serving.gateway.opened import PREFIX as INSTANCES
from ultramarine_serving.gateway.opened import Instance, instance_of
from ultramarine_serving.gateway.served import Endpoint, endpoint_of
from ultramarine_serving.http.address import Address
from ultramarine_serving.http.tls import client_context

FORMAT = 3
AUTHORIZE = ("none", "workspace", "cookie")


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
class Table:
    """A whole snapshot."""

    version: int
    sites: tuple[Site, ...]  #: longest prefix first
    authorizer: Address | None
    endpoints: Mapping[str, Endpoint]  #: by `workspace/endpoint`
    access_log: str | None
    instances: Mapping[str, Instance]  #: by `workspace/instance`, those that run
    hosts: frozenset[str]  #: by which names browsers reach them

    def site(self, listener: str, path: str) -> Site | None:
        """The site with the longest prefix of `path`; `/mlflow` too belongs to `/mlflow/`."""
        for site in self.sites:
            if site.listener == listener and (path.startswith(site.prefix) or path + "/" == site.prefix):
                return site
        return None


EMPTY = Table(
    version=0,
    sites=(),
    authorizer=None,
    endpoints=MappingProxyType({}),
    access_log=None,
    instances=MappingProxyType({}),
    hosts=hosts.known(()),
)


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
    authorizer = fields.optional_address("authorizer")
    if authorizer is None and any(site.authorize != "none" for site in sites):
        raise BadFile("table.authorizer must be given: a site asks for authorization.")
    ca = _ca(fields.optional_text("ca"))
    endpoints = {name: endpoint_of(name, value, ca=ca) for name, value in fields.mapping("endpoints", {}).items()}
    instances = {name: instance_of(name, value, ca=ca) for name, value in fields.mapping("instances", {}).items()}
    if authorizer is None and instances:
        raise BadFile("table.authorizer must be given: there are instances.")
    named = fields.texts("hosts", [])
    if authorizer is None and any(endpoint.auth_mode != "key" for endpoint in endpoints.values()):
        raise BadFile("table.authorizer must be given: an endpoint takes tokens.")
    access_log = fields.optional_text("access_log")
    fields.done()
    return Table(
        version=version,
        sites=tuple(sorted(sites, key=lambda site: -len(site.prefix))),
        authorizer=authorizer,
        endpoints=MappingProxyType(endpoints),
        access_log=access_log,
        instances=MappingProxyType(instances),
        hosts=hosts.known(named),
    )


def _ca(pem: str | None) -> str | None:
    """What has signed for replicas on other machines, once it can be used."""
    if pem is not None:
        try:
            client_context(pem)
        except (ssl.SSLError, ValueError) as error:
            raise BadFile(f"table.ca is no certificate in PEM: {error}.") from None
    return pem


def _site(value: object, where: str) -> Site:
    fields = Fields(value, where)
    site = Site(
        listener=fields.text("listener"),
        prefix=fields.text("prefix"),
        upstream=fields.address("upstream"),
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
    if site.listener == "instances":
        raise fields.bad("listener", site.listener, "none that is for compute instances alone")
    if site.prefix.startswith(("/internal/", "/endpoints/", INSTANCES)):
        raise fields.bad("prefix", site.prefix, "none of the gateway's own paths")
    if site.authorize not in AUTHORIZE:
        raise fields.bad("authorize", site.authorize, f"one of {', '.join(AUTHORIZE)}")
    for field in ("workspace_header", "run_header", "reach_header", "right_header"):
        if (header := getattr(site, field)) and not TOKEN.fullmatch(header):
            raise fields.bad(field, header, "a header name")
    for each in site.allow:
        if not each.startswith(site.prefix):
            raise fields.bad("allow", each, f"a list of paths under {site.prefix}")
    return site

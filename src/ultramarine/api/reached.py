"""By which address the client has reached us: links in an answer lead there again."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ultramarine.api.access import Ctx
from ultramarine.services.context import Site

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
HTTPS_PORT = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    address: str  #: of the API and the endpoints
    second_address: str
    instances_address: str


def reached_by(request: Request, site: Site) -> Reached:
    """What came by TLS named us in `Host`, and only its sender sees the answer; the gateway says how it came."""
    named = _HOST.fullmatch(request.headers.get("host", ""))
    if request.headers.get("x-forwarded-proto") != "https" or named is None:
        return Reached(
            address=site.address, second_address=site.second_address, instances_address=site.instances_address
        )
    host, port = named.group(1), int(named.group(2) or HTTPS_PORT)
    ports = (port, *site.ports.get(port, (port + 1, port + 2)))
    address, second, instances = (f"https://{host}:{each}" for each in ports)
    return Reached(address=address, second_address=second, instances_address=instances)


def _reached(request: Request, ctx: Ctx) -> Reached:
    return reached_by(request, ctx.site)


ReachedAt = Annotated[Reached, Depends(_reached)]

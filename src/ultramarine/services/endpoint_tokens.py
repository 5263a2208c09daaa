"""Tokens for endpoints whose `auth_mode` is `aml_token`: each is good for one endpoint, for an hour.

They are derived, and say until when: nothing is stored. One ends early when the endpoint's primary key is made anew,
and with the endpoint: another of the same name has other keys.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ultramarine.domain.endpoint import Endpoint
from ultramarine.domain.errors import NotSignedIn
from ultramarine.services.context import Context
from ultramarine.services.secrets import parts
from ultramarine.store import endpoints

PURPOSE = "endpoint"
LIFE = timedelta(hours=1)
REFRESH = timedelta(minutes=40)  #: then a client is to fetch the next one


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointToken:
    token: str
    expires_at: datetime
    refresh_at: datetime


def make(ctx: Context, endpoint: Endpoint) -> EndpointToken:
    now = ctx.clock().replace(microsecond=0)
    expires_at = now + LIFE
    expires = str(int(expires_at.timestamp()))
    secret = ctx.secrets.of(PURPOSE, *_said(endpoint), expires)
    token = f"{PURPOSE}:{endpoint.workspace}:{endpoint.name}:{expires}:{secret}"
    return EndpointToken(token=token, expires_at=expires_at, refresh_at=now + REFRESH)


async def check(ctx: Context, token: str, *, workspace: str, endpoint: str) -> datetime:
    """Until when it is good for this endpoint. Raises `NotSignedIn`."""
    purpose, of_workspace, name, expires, secret = parts(token, 5)
    refused = NotSignedIn(
        f"This token is not valid for endpoint {endpoint} (any more).",
        hint=f"Fetch a new one: um online-endpoint get-credentials -n {endpoint}",
    )
    if (purpose, of_workspace, name) != (PURPOSE, workspace, endpoint) or not expires.isdecimal():
        raise refused
    async with ctx.read() as tx:
        there = await endpoints.find(tx, workspace, endpoint)
    if there is None or there.spec.auth_mode != "aml_token":
        raise refused
    if not ctx.secrets.matches(secret, PURPOSE, *_said(there), expires) or int(expires) <= ctx.clock().timestamp():
        raise refused
    return datetime.fromtimestamp(int(expires), UTC)


def _said(endpoint: Endpoint) -> tuple[str, ...]:
    return endpoint.workspace, endpoint.name, endpoint.keys_sha256[0]

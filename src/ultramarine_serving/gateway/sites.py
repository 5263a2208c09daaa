"""Sites: the longest prefix wins, who may is asked, and everything is passed on as it comes."""

from __future__ import annotations

import math

from ultramarine_serving.gateway import forwarding
from ultramarine_serving.gateway.authorize import Authorizer, Denied, Grant, Unavailable
from ultramarine_serving.gateway.browser import SECOND, login, refuse_foreign, session_of
from ultramarine_serving.gateway.paths import ambiguous, is_ambiguous, is_internal
from ultramarine_serving.gateway.table import EMPTY, Site, Table
from ultramarine_serving.http.address import Address
from ultramarine_serving.http.client import NotConnected, Pool, UpstreamError
from ultramarine_serving.http.messages import Request, Response, problem

IDLE_S = 4.0  #: shorter than uvicorn's 5 s: the upstream is never the one that closes first

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS"))


class Sites:
    """All sites of the table, with a pool for each upstream."""

    def __init__(self) -> None:
        self._table: Table = EMPTY
        self._pools: dict[Address, Pool] = {}
        self.authorizer: Authorizer | None = None  #: the control plane, as asked and told by this worker
        self._dropped = forwarding.DROPPED

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def update(self, table: Table) -> None:
        """Take over a new table at one stroke. Authorizations of another authorizer are forgotten."""
        wanted = {site.upstream for site in table.sites}
        if table.authorizer is not None:
            wanted.add(table.authorizer)
        for address in self._pools.keys() - wanted:
            self._pools.pop(address).close()
        for address in wanted - self._pools.keys():
            self._pools[address] = Pool(address, idle_s=IDLE_S)
        if table.authorizer != self._table.authorizer:
            self.authorizer = None if table.authorizer is None else Authorizer(self._pools[table.authorizer])
        spoofable = (site.told_headers for site in table.sites)
        self._dropped = forwarding.DROPPED.union({b"x-mlflow-workspace"}, *spoofable)
        self._table = table

    async def answer(self, listener: str, request: Request) -> Response:
        """Answer a request to anything but an endpoint."""
        if is_internal(request.path):
            return _nothing_here(request)
        if is_ambiguous(request.path):
            return ambiguous()
        if listener == SECOND.listener and request.path == "/login" and self.authorizer is not None:
            return await login(request, self.authorizer, SECOND)
        site = self._table.site(listener, request.path)
        if site is None:
            return _nothing_here(request)
        try:
            grant = await self._authorize(site, request)
        except Denied as error:
            return _denied(error)
        except Unavailable as error:
            detail = f"Who you are cannot be checked: {error}."
            return problem(
                503,
                "No authorization",
                detail,
                hint="Send it again after Retry-After.",
                headers=[(b"retry-after", b"2")],
            )
        if isinstance(grant, Response):
            return grant
        if site.allow and not request.path.startswith(site.allow):
            hint = f"Under {site.prefix} these are: {', '.join(site.allow)}."
            return problem(403, "Path not allowed", f"{request.path} is not open to clients.", hint=hint)
        return await self._forward(site, request, grant)

    async def _authorize(self, site: Site, request: Request) -> Grant | Response | None:
        """Who asks; None where nobody needs to say; a Response that refuses. Raises Denied, Unavailable."""
        if site.authorize == "none":
            return None
        assert self.authorizer is not None, "a table whose sites authorize has an authorizer"
        wanted = (
            request.header(site.workspace_header.encode()).decode("latin-1").strip() if site.workspace_header else ""
        )
        if site.authorize == "cookie":
            token = session_of(request, SECOND)
            refusal = refuse_foreign(request)
            if refusal is not None:
                return refusal
            if not token:
                raise Denied(401, "This page wants you to be signed in")
            return await self.authorizer.grant(token, "session", workspace=wanted, hold_s=site.hold_s)
        scheme, _, key = request.header(b"authorization").partition(b" ")
        if scheme.lower() != b"bearer" or not key.strip():
            raise Denied(401, "A bearer token is wanted")
        token = key.strip().decode("latin-1")
        return await self.authorizer.grant(token, "mlflow", workspace=wanted, hold_s=site.hold_s)

    async def _forward(self, site: Site, request: Request, grant: Grant | None) -> Response:
        id = forwarding.request_id(request)
        drop = self._dropped if grant is None else self._dropped | {b"authorization"}
        headers = forwarding.onward_headers(request, id, drop=drop)
        if grant is not None:
            headers += _told(site, grant)
        if forwarding.is_websocket(request):
            headers += forwarding.UPGRADE
        body, is_chunked = forwarding.framing(request, headers)
        head = forwarding.onward_head(request, request.target, headers)
        pool = self._pools[site.upstream]
        may_repeat = request.method in _IDEMPOTENT and isinstance(body, bytes)
        try:
            answer = await pool.ask_held(head, body, hold_s=site.hold_s, may_repeat=may_repeat, is_chunked=is_chunked)
        except NotConnected as error:
            retry = [(b"retry-after", b"%d" % max(1, math.ceil(site.hold_s / 4))), (b"x-request-id", id)]
            hint = "It may be starting: send it again after Retry-After; um status shows what runs."
            return problem(
                503, "Not there now", f"What answers {site.prefix} is not there: {error}.", hint=hint, headers=retry
            )
        except UpstreamError as error:
            hint = "It may have been worked on: look before you send it again."
            detail = f"What answers {site.prefix} took the request, then {error}."
            return problem(502, "Upstream broke off", detail, hint=hint, headers=[(b"x-request-id", id)])
        return forwarding.onward_answer(request, answer, [(b"x-request-id", id)], on_end=_no_more)


def _told(site: Site, grant: Grant) -> list[tuple[bytes, bytes]]:
    """Who asks, as the upstream is told."""
    said = (
        (site.workspace_header, grant.workspace),
        (site.run_header, grant.run),
        (site.reach_header, grant.reach),
        (site.right_header, grant.right),
    )
    return [(header.encode(), value.encode()) for header, value in said if header and value]


def _denied(error: Denied) -> Response:
    if error.status == 401:
        hint = "Send Authorization: Bearer TOKEN, or open the one-time link that um open prints."
        headers = [(b"www-authenticate", b'Bearer realm="ultramarine"')]
        return problem(401, "Not signed in", f"{error or 'The token is not known'}.", hint=hint, headers=headers)
    hint = error.hint or "Use a token with the right role."
    return problem(403, "Not allowed", f"{error or 'The token does not allow this'}.", hint=hint)


def _nothing_here(request: Request) -> Response:
    hint = "The API is under /api/v1/, endpoints are under /endpoints/WORKSPACE/ENDPOINT/score."
    return problem(404, "Nothing here", f"No site answers {request.path}.", hint=hint)


def _no_more() -> None:
    pass

"""`/instances/{workspace}/{instance}/…`, on a listener of its own: who may enter, and the programs inside.

What runs there is written by its owner, and acts for whom its pages are shown to: so nobody else is let in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from ultramarine_serving.gateway import cookies, forwarding, hosts
from ultramarine_serving.gateway.authorize import Authorizer, Denied, Grant, Unavailable
from ultramarine_serving.gateway.browser import INSTANCES, login, refuse_foreign, session_of
from ultramarine_serving.gateway.opened import NAME, PREFIX, Way
from ultramarine_serving.gateway.paths import ambiguous, is_ambiguous
from ultramarine_serving.gateway.programs import Program, Use, not_up, program_of, with_slash
from ultramarine_serving.gateway.table import EMPTY, Table
from ultramarine_serving.http.client import NotConnected, Pool, UpstreamError
from ultramarine_serving.http.messages import Request, Response, problem
from ultramarine_serving.http.tunnel import Tunnel

HOLD_S = 5.0  #: how long a request waits for a program that takes no connections, or for the control plane
IDLE_S = 4.0
ASK_AGAIN_S = 10.0  #: between two looks at whether who has a tunnel open still may

_PATH = re.compile(f"{PREFIX}({NAME})/({NAME})(/.*)?")
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS"))
_SCHEMES = frozenset((b"bearer", b"token"))  #: the second is what Jupyter's clients say
_DROPPED = forwarding.DROPPED | {b"authorization", b"x-real-ip", b"x-scheme"}
#: What would reach beyond the paths of the program that says it.
_TOO_WIDE = frozenset((b"alt-svc", b"clear-site-data", b"strict-transport-security"))
_ADDED = ((b"content-security-policy", b"frame-ancestors 'self'"), (b"cross-origin-resource-policy", b"same-origin"))

Ask = Callable[[], Awaitable[Grant]]  #: who somebody is; raises Denied, Unavailable
Run = Callable[[Tunnel], Awaitable[None]]  #: a tunnel, to its end


class Instances:
    """All compute instances of the table, with a pool for each."""

    def __init__(self, *, hold_s: float = HOLD_S, ask_again_s: float = ASK_AGAIN_S) -> None:
        self._table: Table = EMPTY
        self._authorizer: Authorizer | None = None
        self._pools: dict[Way, Pool] = {}
        self._uses: dict[tuple[str, str], Use] = {}  #: by id of the instance and name of the application
        self._hold_s = hold_s
        self._ask_again_s = ask_again_s

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def update(self, table: Table, *, authorizer: Authorizer | None) -> None:
        """Take over a new table at one stroke; what is under way goes on."""
        wanted = {way for instance in table.instances.values() for way in instance.ways}
        for way in self._pools.keys() - wanted:
            self._pools.pop(way).close()
        for way in wanted - self._pools.keys():
            self._pools[way] = Pool(way.address, idle_s=IDLE_S, expected=way.expected)
        there = {(instance.id, name) for instance in table.instances.values() for name in instance.applications}
        loop = asyncio.get_running_loop()
        self._uses = {each: self._uses.get(each) or Use(loop) for each in there}
        self._authorizer = authorizer
        self._table = table

    def status(self) -> dict[str, Any]:
        """For `GET /status`: by id, how the applications of each are used."""
        told: dict[str, Any] = {instance.id: {} for instance in self._table.instances.values()}
        for (id, name), use in self._uses.items():
            told[id][name] = use.told()
        return {"instances": told}

    async def answer(self, request: Request) -> Response:
        """Answer whatever comes to the listener."""
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        authorizer = self._authorizer
        if authorizer is None:
            return _not_asked("no route table yet")
        if request.path == "/login":
            return await login(request, authorizer, INSTANCES)
        named = _PATH.fullmatch(request.path)
        if named is None:
            return _nothing_here(request)
        workspace, name, below = named.groups()
        if below is None:
            return with_slash(request)
        return await self._enter(request, authorizer, workspace, name=name, below=below)

    async def _enter(
        self, request: Request, authorizer: Authorizer, workspace: str, *, name: str, below: str
    ) -> Response:
        """Ask who it is, and hand on what is for the instance that they may enter."""
        ask = _asking(request, authorizer, workspace, name)
        if isinstance(ask, Response):
            return ask
        try:
            grant = await ask()
        except Denied as error:
            return _denied(error, name)
        except Unavailable as error:
            return _not_asked(str(error))
        there = self._table.instances.get(f"{workspace}/{name}")
        if there is None or there.id != grant.instance:
            return not_up(name)
        program = program_of(there, request, name=name, below=below)
        if isinstance(program, Response):
            return program
        if program.application is None:
            return await self._forward(program, request, ask, on_end=_no_more)
        end = self._uses[there.id, program.application].begin()
        try:
            return await self._forward(program, request, ask, on_end=end)
        except BaseException:
            end()
            raise

    def _refuse(self, request: Request) -> Response | None:
        """What nobody may send, whoever it is."""
        if not hosts.is_one(request.header(b"host"), self._table.hosts):
            detail = "The name by which this was asked for is none of this installation's."
            hint = "Use the address that um compute connect prints; further names: ULTRAMARINE_LISTEN_NAMES."
            return problem(421, "Not this host", detail, hint=hint, close=True)
        if is_ambiguous(request.path):
            return ambiguous()
        if "token" in parse_qs(request.query, keep_blank_values=True):
            detail = "A token in an address ends up in logs and histories; it is not looked at."
            return problem(400, "Token in the address", detail, hint="Send it in a header: Authorization: token TOKEN.")
        return None

    async def _forward(self, program: Program, request: Request, ask: Ask, *, on_end: Callable[[], None]) -> Response:
        """`on_end`: called when nothing of it is under way any more, unless this raises."""
        if (refusal := await program.ready(self._hold_s)) is not None:
            on_end()
            return refusal
        hold_s = 0 if program.is_at_port_here else self._hold_s  # who listens is known of this moment alone
        id = forwarding.request_id(request)
        headers = forwarding.onward_headers(request, id, drop=_DROPPED)
        headers += cookies.onward(request.headers)
        if program.secret:
            headers.append((b"authorization", b"token " + program.secret.encode()))
        if forwarding.is_websocket(request):
            headers += forwarding.UPGRADE
        body, is_chunked = forwarding.framing(request, headers)
        head = forwarding.onward_head(request, request.target, headers)
        may_repeat = request.method in _IDEMPOTENT and isinstance(body, bytes)
        said = [(b"x-request-id", id)]
        try:
            answer = await self._pools[program.way].ask_held(
                head, body, hold_s=hold_s, may_repeat=may_repeat, is_chunked=is_chunked
            )
        except NotConnected as error:
            on_end()
            return program.down(str(error))
        except UpstreamError as error:
            on_end()
            detail = f"{program} took the request, then {error}."
            hint = f"It may have been worked on: look before you send it again.{program.where_it_says_more}"
            return problem(502, "Broken off", detail, hint=hint, headers=said)
        answer.headers = _confined(answer.headers, program.base, is_by_tls=request.scheme == "https")
        added = said if answer.tunnel is not None else [*said, *_ADDED]
        made = forwarding.onward_answer(request, answer, added, on_end=on_end)
        if made.tunnel is not None:
            made.tunnel = self._while_allowed(made.tunnel, ask, on_end=on_end)
        return made

    def _while_allowed(self, run: Run, ask: Ask, *, on_end: Callable[[], None]) -> Run:
        """A tunnel that ends when who has opened it may not any more."""

        async def watched(client: Tunnel) -> None:
            tasks = [asyncio.ensure_future(run(client)), asyncio.ensure_future(self._until_denied(ask))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                on_end()  # `run` says so too, unless it was cancelled before it began
                await asyncio.gather(*tasks, return_exceptions=True)

        return watched

    async def _until_denied(self, ask: Ask) -> None:
        """A control plane that does not answer ends nothing."""
        while True:
            await asyncio.sleep(self._ask_again_s)
            try:
                await ask()
            except Denied:
                return
            except Unavailable:
                continue


def _asking(request: Request, authorizer: Authorizer, workspace: str, name: str) -> Ask | Response:
    """How to ask who it is. A Response refuses: nobody says who it is, or another site's page has sent it.

    A cookie counts before a header: Jupyter's own pages send a header that means nothing here.
    """
    token, purpose = session_of(request, INSTANCES), "instance-session"
    if token:
        refusal = refuse_foreign(request, frames=False)
        if refusal is not None:
            return refusal
    else:
        scheme, _, key = request.header(b"authorization").partition(b" ")
        token, purpose = key.strip().decode("latin-1"), "instance"
        if scheme.lower() not in _SCHEMES or not token:
            return _denied(Denied(401, "A compute instance wants you to be signed in"), name)

    async def ask() -> Grant:
        return await authorizer.grant(token, purpose, workspace=workspace, instance=name, hold_s=HOLD_S)

    return ask


def _confined(headers: list[tuple[bytes, bytes]], base: str, *, is_by_tls: bool) -> list[tuple[bytes, bytes]]:
    """An answer's headers, without what would reach beyond the paths of the program that gave it."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name == b"set-cookie":
            cookie = cookies.confined(value, base, is_by_tls=is_by_tls)
            if cookie is not None:
                kept.append((name, cookie))
        elif name == b"service-worker-allowed":
            if value.startswith(base.encode()):
                kept.append((name, value))
        elif name not in _TOO_WIDE:
            kept.append((name, value))
    return kept


def _denied(error: Denied, name: str) -> Response:
    """`name`: as it was asked for; whether there is such an instance is said to who may know it."""
    if error.status == 401:
        hint = (
            f"um compute connect -n {name} prints a link that signs you in; programs send Authorization: token TOKEN."
        )
        headers = [(b"www-authenticate", b'Bearer realm="ultramarine"')]
        return problem(401, "Not signed in", f"{error or 'Who you are is not known'}.", hint=hint, headers=headers)
    title = "No such instance" if error.status == 404 else "Not allowed"
    return problem(error.status, title, f"{error or 'You may not enter it'}.", hint=error.hint or "um compute list")


def _not_asked(why: str) -> Response:
    detail, hint = f"Who you are cannot be checked: {why}.", "Send it again after Retry-After."
    return problem(503, "No authorization", detail, hint=hint, headers=[(b"retry-after", b"2")])


def _nothing_here(request: Request) -> Response:
    hint = "Compute instances are at /instances/WORKSPACE/NAME/: um compute connect -n NAME prints a link."
    return problem(404, "Nothing here", f"Nothing answers {request.path}.", hint=hint)


def _no_more() -> None:
    pass

"""What answers below an instance's path: JupyterLab, or one of the custom applications that run beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ultramarine_serving.gateway.opened import HOST, Instance, Way
from ultramarine_serving.http.holder import Holder, holder
from ultramarine_serving.http.messages import Request, Response, problem

PROXY = "/proxy/"  #: below an instance's path: what is not JupyterLab's
LOOK_S = 0.1


class Use:
    """How one application is used, since the worker's start."""

    __slots__ = ("_loop", "_seen_at", "in_flight")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen_at: float | None = None
        self.in_flight = 0  #: requests and open websockets

    def begin(self) -> Callable[[], None]:
        """One begins. What is given ends it, whoever calls it, and once."""
        self.in_flight += 1
        self._seen_at = self._loop.time()
        is_open = True

        def end() -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                self.in_flight -= 1
                self._seen_at = self._loop.time()

        return end

    def told(self) -> dict[str, Any]:
        """`quiet_s`: since the last one ended; None: there was none."""
        if self.in_flight or self._seen_at is None:
            return {"in_flight": self.in_flight, "quiet_s": 0.0 if self.in_flight else None}
        return {"in_flight": 0, "quiet_s": round(self._loop.time() - self._seen_at, 3)}


@dataclass(frozen=True)
class Program:
    """`base`: what its paths begin with. `application`: None is JupyterLab.

    `socket`: of its instance, where that is on this machine.
    """

    instance: str
    base: str
    way: Way
    socket: str
    secret: str = field(default="", repr=False)  #: what it wants to be told, if anything
    application: str | None = None

    def __str__(self) -> str:
        of = f"Compute instance {self.instance}"
        return of if self.application is None else f"Application {self.application} of compute instance {self.instance}"

    @property
    def where_it_says_more(self) -> str:
        """For a hint."""
        if self.application is None:
            return ""
        return f" What it says is in applications/{self.application}.log of the home folder."

    async def ready(self, hold_s: float) -> Response | None:
        """Wait until it can be asked, for `hold_s` at most; a Response says why it cannot.

        What takes connections at a port need not be the application: to another user's program nothing is sent. On
        another machine the door of the instance looks.
        """
        if not self.is_at_port_here:
            return None
        loop = asyncio.get_running_loop()
        until = loop.time() + hold_s
        while (found := holder(self.way.address.port, socket=self.socket)) is Holder.NOBODY:
            if loop.time() >= until:
                return self.down(f"it takes no connections at port {self.way.address.port}")
            await asyncio.sleep(LOOK_S)
        return None if found is Holder.KNOWN else self._taken()

    @property
    def is_at_port_here(self) -> bool:
        return self.application is not None and self.way.is_here

    def down(self, why: str) -> Response:
        if self.application is None:
            return not_up(self.instance)
        detail = f"{self} does not answer now, or not yet: {why}."
        hint = f"It is started again by itself, and must listen at {HOST}:$PORT.{self.where_it_says_more}"
        return problem(503, "Application not up", detail, hint=hint, headers=[(b"retry-after", b"2")])

    def _taken(self) -> Response:
        detail = f"At port {self.way.address.port} of {self} listens a program of another user of this machine."
        hint = f"Give it another port: um compute update -n {self.instance} -f FILE.yml, then um compute restart."
        return problem(502, "Not the application", detail, hint=hint)


def program_of(there: Instance, request: Request, *, name: str, below: str) -> Program | Response:
    """Whose a path `below` that of the instance `name` is. A Response says that it is nobody's, or leads on."""
    socket = there.address.path
    if not below.startswith(PROXY):
        return Program(instance=name, base=there.base, way=there.lab, socket=socket, secret=there.secret)
    application, slash, _ = below[len(PROXY) :].partition("/")
    way = there.application(application)
    if way is None:
        return _no_application(there, name)
    if not slash:
        return with_slash(request)
    base = f"{there.base}{PROXY[1:]}{application}/"
    return Program(instance=name, base=base, way=way, socket=socket, application=application)


def with_slash(request: Request) -> Response:
    """Cookies and relative addresses begin after it."""
    query = f"?{request.query}" if request.query else ""
    return Response(307, [(b"location", f"{request.path}/{query}".encode())])


def not_up(name: str) -> Response:
    detail = f"Compute instance {name} does not run now, or not yet."
    hint = f"um compute show -n {name} says how it is, um compute start -n {name} starts it."
    return problem(503, "Instance not up", detail, hint=hint, headers=[(b"retry-after", b"5")])


def _no_application(there: Instance, name: str) -> Response:
    known = ", ".join(sorted(there.applications)) or "none"
    detail = f"Compute instance {name} was started with no application of that name; it has {known}."
    hint = "Write it under custom_applications, then um compute update and um compute restart."
    return problem(404, "No such application", detail, hint=hint)
